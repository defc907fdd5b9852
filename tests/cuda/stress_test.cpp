// SPDX-License-Identifier: Apache-2.0
// A thousand steps over several layers without a wait in between, as in an engine. Another kernel writes each layer's
// inputs, rows included, just before the step that reads them, and overwrites them right after it.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <cstring>
#include <hashevict/cache.hpp>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/foreign.hpp"
#include "support/any_args.hpp"
#include "support/array.hpp"
#include "support/device.hpp"
#include "support/element.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

constexpr int32_t kSteps = 1000;
constexpr int32_t kSets =
    61;  // sets of inputs that the layers take in turn; a prime, so that each layer gets all of them
constexpr int32_t kPrompt = 4100;

Config stress_config(Policy policy, Backend backend) {
  Config config = small_config();
  config.placement.backend = backend;
  config.rule.policy = policy;
  config.shape.num_layers = 6;
  config.shape.num_sequences = 32;
  config.shape.num_kv_heads = 2;
  config.shape.num_qo_heads = 8;
  config.shape.head_dim = 64;
  config.shape.capacity = 4096;
  config.rule.num_sink_tokens = 4;
  config.rule.recent_window = 64;
  config.shape.dtype = DType::bfloat16;
  config.execution.max_batch_tokens = kPrompt;
  config.execution.num_threads = 0;
  return config;
}

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error{cudaGetErrorString(error)};
}

/// The places of a set's inputs: queries, keys, values, and the sequence of each row.
struct Parts {
  explicit Parts(const Config& config) {
    const auto rows = static_cast<std::size_t>(config.shape.num_sequences);
    const std::size_t vector = rows * static_cast<std::size_t>(config.shape.head_dim) * size_of(DType::bfloat16);
    keys = static_cast<std::size_t>(config.shape.num_qo_heads) * vector;
    values = keys + static_cast<std::size_t>(config.shape.num_kv_heads) * vector;
    sequences = values + static_cast<std::size_t>(config.shape.num_kv_heads) * vector;
    bytes = (sequences + rows * sizeof(int32_t) + 255) / 256 * 256;
  }
  std::size_t keys, values, sequences, bytes;
};

void put(const std::vector<float>& values, std::byte* to) {
  for (const float value : values) {
    store(DType::bfloat16, value, to);
    to += size_of(DType::bfloat16);
  }
}

/// All sets, one after the other, each with different tokens and another order of rows.
std::vector<std::byte> draw_sets(const Config& config) {
  const Parts parts{config};
  std::vector<std::byte> sets(kSets * parts.bytes);
  Inputs inputs{31};
  for (int32_t set = 0; set < kSets; ++set) {
    std::byte* const to = sets.data() + static_cast<std::size_t>(set) * parts.bytes;
    const Tokens tokens = inputs.draw(config, static_cast<std::size_t>(config.shape.num_sequences), DType::bfloat16);
    put(tokens.q, to);
    put(tokens.k, to + parts.keys);
    put(tokens.v, to + parts.values);
    for (int32_t row = 0; row < config.shape.num_sequences; ++row) {
      const int32_t sequence = (row * 5 + set) % config.shape.num_sequences;
      std::memcpy(to + parts.sequences + static_cast<std::size_t>(row) * sizeof sequence, &sequence, sizeof sequence);
    }
  }
  return sets;
}

/// The set of a layer's inputs at a step.
int32_t set_of(int32_t step, int32_t layer) {
  return (step * 7 + layer * 11) % kSets;
}

/// The arguments of a layer's step with inputs at `set`.
AnyArgs args_of(const Config& config, int32_t layer, const std::byte* set, int32_t* victims) {
  const Parts parts{config};
  const int64_t rows = config.shape.num_sequences;
  AnyArgs args;
  args.layer = layer;
  args.q = Tensor{set, DType::bfloat16, {rows, config.shape.num_qo_heads, config.shape.head_dim}};
  args.k = Tensor{set + parts.keys, DType::bfloat16, {rows, config.shape.num_kv_heads, config.shape.head_dim}};
  args.v = Tensor{set + parts.values, DType::bfloat16, {rows, config.shape.num_kv_heads, config.shape.head_dim}};
  args.batch.row_to_sequence = Tensor{set + parts.sequences, DType::int32, {rows}};
  args.victims = Tensor{victims, {rows, config.shape.num_kv_heads}};
  return args;
}

std::size_t victims_of_layer(const Config& config) {
  return static_cast<std::size_t>(config.shape.num_sequences) * static_cast<std::size_t>(config.shape.num_kv_heads);
}

std::size_t first_victim(const Config& config, int32_t step, int32_t layer) {
  return static_cast<std::size_t>(step * config.shape.num_layers + layer) * victims_of_layer(config);
}

/// Fills every sequence: one by its prompt, the others as its forks.
void fill(Cache& cache, const Config& config, Backend backend) {
  Inputs inputs{32};
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const Tokens tokens = inputs.draw(config, kPrompt, DType::bfloat16);
    const Array q{backend, DType::bfloat16, {kPrompt, config.shape.num_qo_heads, config.shape.head_dim}, tokens.q};
    const Array k{backend, DType::bfloat16, {kPrompt, config.shape.num_kv_heads, config.shape.head_dim}, tokens.k};
    const Array v{backend, DType::bfloat16, {kPrompt, config.shape.num_kv_heads, config.shape.head_dim}, tokens.v};
    const Array starts{backend, {2}, std::vector<int32_t>{0, kPrompt}};
    const Array sequence{backend, {1}, std::vector<int32_t>{0}};
    PrefillArgs args;
    args.layer = layer;
    args.q = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    args.batch.cu_seqlens = starts.tensor();
    args.batch.row_to_sequence = sequence.tensor();
    args.mode = PrefillMode::recent;
    cache.prefill(args, Stream{});
    static_cast<void>(cache.statistics(Stream{}));  // waits: the arrays are freed next
  }
  for (int32_t sequence = 1; sequence < config.shape.num_sequences; ++sequence) cache.fork(0, sequence, Stream{});
  static_cast<void>(cache.statistics(Stream{}));
}

/// The victims on the CPU backend. Attention does not affect them, so this run omits it.
const std::vector<int32_t>& expected_victims(Policy policy) {
  static std::map<Policy, std::vector<int32_t>> all;
  std::vector<int32_t>& victims = all[policy];
  if (!victims.empty()) return victims;
  const Config config = stress_config(policy, Backend::cpu);
  const std::vector<std::byte> sets = draw_sets(config);
  const Parts parts{config};
  Cache cache{config};
  fill(cache, config, Backend::cpu);
  victims.resize(first_victim(config, kSteps, 0));
  for (int32_t step = 0; step < kSteps; ++step) {
    for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
      const std::byte* const set = sets.data() + static_cast<std::size_t>(set_of(step, layer)) * parts.bytes;
      cache.evict(args_of(config, layer, set, victims.data() + first_victim(config, step, layer)), Stream{});
    }
  }
  return victims;
}

/// A stream that does not wait for the default stream.
class OwnStream {
 public:
  OwnStream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~OwnStream() { static_cast<void>(cudaStreamDestroy(stream_)); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  [[nodiscard]] Stream get() const { return Stream{stream_}; }
  void wait() const { check(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

struct Case {
  Policy policy;
  Foreign foreign;
};

class Stress : public testing::TestWithParam<Case> {};

TEST_P(Stress, VictimsOfAThousandStepsAreTheCpus) {
  if (device::name() != "cuda") GTEST_SKIP() << "no CUDA device can be used here";
  const Config config = stress_config(GetParam().policy, Backend::cuda);
  const std::vector<std::byte> drawn = draw_sets(config);
  const Parts parts{config};
  const BackendMemory sets{Backend::cuda, drawn.size()};
  const BackendMemory present{Backend::cuda, parts.bytes};
  upload(Backend::cuda, drawn.data(), sets.data(), drawn.size());
  const std::size_t count = first_victim(config, kSteps, 0);
  const BackendMemory victims{Backend::cuda, count * sizeof(int32_t)};
  const Array out{
      Backend::cuda, DType::bfloat16, {config.shape.num_sequences, config.shape.num_qo_heads, config.shape.head_dim}};
  Cache cache{config};
  fill(cache, config, Backend::cuda);
  const OwnStream stream;
  for (int32_t i = 0; i < kSteps; ++i) {
    for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
      const std::byte* set = sets.data() + static_cast<std::size_t>(set_of(i, layer)) * parts.bytes;
      if (GetParam().foreign != Foreign::none) {
        ASSERT_EQ(copy_words(set, present.data(), parts.bytes / 4, GetParam().foreign, stream.get().get()), nullptr);
        set = present.data();
      }
      auto* const own = reinterpret_cast<int32_t*>(victims.data()) + first_victim(config, i, layer);
      AnyArgs args = args_of(config, layer, set, own);
      args.out = out.tensor();
      cache.decode(args, stream.get());
    }
  }
  stream.wait();
  const std::vector<int32_t> found =
      read_ints(Backend::cuda, Tensor{reinterpret_cast<int32_t*>(victims.data()), {static_cast<int64_t>(count)}});
  const std::vector<int32_t>& expected = expected_victims(GetParam().policy);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_EQ(found[i], expected[i]) << "step " << i / victims_of_layer(config) / 6 << ", number " << i;
  }
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const char* const policy = info.param.policy == Policy::hash ? "hash" : "votes";
  const char* const foreign = info.param.foreign == Foreign::none    ? "alone"
                              : info.param.foreign == Foreign::plain ? "between_plain_kernels"
                                                                     : "between_overlapping_kernels";
  return std::string{policy} + "_" + foreign;
}

INSTANTIATE_TEST_SUITE_P(On, Stress,
                         testing::Values(Case{Policy::hash, Foreign::none}, Case{Policy::hash, Foreign::plain},
                                         Case{Policy::hash, Foreign::overlapping},
                                         Case{Policy::votes, Foreign::overlapping}),
                         name_of);

}  // namespace
}  // namespace hashevict::test
