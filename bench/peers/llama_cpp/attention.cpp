// SPDX-License-Identifier: Apache-2.0
#include <ggml-cpu.h>
#include <ggml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <hashevict/cache.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../../ratio.hpp"

/// Decode attention beside the CPU flash attention of llama.cpp's ggml, over the same keys and values in one run: 8
/// sequences, 8 KV heads, 4096 slots, head size 128. Both outputs are compared first.
///
/// `llama_cpp_attention [--json FILE] [--threads N] [--rounds N]`; llama_cpp.sh builds it. With one thread, times are
/// processor time.
namespace hashevict::bench {
namespace {

constexpr int32_t kSequences = 8, kHeads = 8, kSlots = 4096, kDim = 128;
constexpr float kScale = 0.08838834764831845F;  // 1 / sqrt(kDim)

struct Options {
  std::string file;
  int threads = 0;
  int rounds = 9;
};

std::vector<float> normal_numbers(int64_t count, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

ggml_type ggml_type_of(DType dtype) {
  if (dtype == DType::float32) return GGML_TYPE_F32;
  return dtype == DType::float16 ? GGML_TYPE_F16 : GGML_TYPE_BF16;
}

/// Random elements of a type, [sequences, heads, slots, dim].
std::vector<std::byte> random_elements(DType dtype, std::mt19937& generator) {
  const int64_t count = int64_t{kSequences} * kHeads * kSlots * kDim;
  const std::vector<float> values = normal_numbers(count, generator);
  std::vector<std::byte> bytes(values.size() * ggml_type_size(ggml_type_of(dtype)));
  if (dtype == DType::float32)
    std::copy_n(reinterpret_cast<const std::byte*>(values.data()), bytes.size(), bytes.data());
  if (dtype == DType::float16) {
    ggml_fp32_to_fp16_row(values.data(), reinterpret_cast<ggml_fp16_t*>(bytes.data()), count);
  }
  if (dtype == DType::bfloat16) {
    ggml_fp32_to_bf16_row(values.data(), reinterpret_cast<ggml_bf16_t*>(bytes.data()), count);
  }
  return bytes;
}

/// One step's inputs.
struct Inputs {
  DType dtype;
  int32_t group;
  std::vector<std::byte> keys, values;
  std::vector<float> queries;  ///< [sequences, heads * group, dim]

  Inputs(DType element_type, int32_t group_size) : dtype{element_type}, group{group_size} {
    std::mt19937 generator{static_cast<uint32_t>(group_size)};
    keys = random_elements(dtype, generator);
    values = random_elements(dtype, generator);
    queries = normal_numbers(int64_t{kSequences} * kHeads * group * kDim, generator);
  }
};

/// A cache that holds the inputs, one token a slot.
class Ours {
 public:
  Ours(const Inputs& inputs, int threads) : cache_{config_of(inputs, threads)}, out_(inputs.queries.size()) {
    const int64_t heads = int64_t{kHeads} * inputs.group;
    const std::vector<float> queries(static_cast<std::size_t>(kSlots * heads * kDim), 0.5F);
    for (int32_t sequence = 0; sequence < kSequences; ++sequence) {
      const std::size_t offset = inputs.keys.size() / kSequences * static_cast<std::size_t>(sequence);
      const auto tokens = [&](const std::vector<std::byte>& from) {
        return Tensor(from.data() + offset, inputs.dtype, {kSlots, kHeads, kDim}, {kDim, int64_t{kSlots} * kDim, 1});
      };
      const int32_t bounds[2] = {0, kSlots};
      PrefillArgs fill;
      fill.batch.row_to_sequence = Tensor(&sequence, {1});
      fill.batch.cu_seqlens = Tensor(bounds, {2});
      fill.q = Tensor(queries.data(), {kSlots, heads, kDim});
      fill.k = tokens(inputs.keys);
      fill.v = tokens(inputs.values);
      cache_.prefill(fill, Stream{});
    }
    args_.q = Tensor(inputs.queries.data(), {kSequences, heads, kDim});
    args_.out = Tensor(out_.data(), {kSequences, heads, kDim});
  }

  void attend() { cache_.attend(args_, Stream{}); }
  [[nodiscard]] const std::vector<float>& out() const { return out_; }

 private:
  static Config config_of(const Inputs& inputs, int threads) {
    Config config;
    config.shape.num_layers = 1;
    config.shape.num_sequences = kSequences;
    config.shape.num_kv_heads = kHeads;
    config.shape.num_qo_heads = kHeads * inputs.group;
    config.shape.head_dim = kDim;
    config.shape.capacity = kSlots;
    config.shape.dtype = inputs.dtype;
    config.execution.max_batch_tokens = kSlots;
    config.execution.num_threads = threads;
    return config;
  }

  Cache cache_;
  std::vector<float> out_;
  AttendArgs args_;
};

/// A graph of ggml with one node over the same memory.
class Theirs {
 public:
  Theirs(Inputs& inputs, int threads)
      : context_{ggml_init({.mem_size = 1U << 20U, .mem_buffer = nullptr, .no_alloc = true})} {
    ggml_context* const context = context_.get();
    const ggml_type type = ggml_type_of(inputs.dtype);
    const int32_t heads = kHeads * inputs.group;
    ggml_tensor* const q = ggml_new_tensor_4d(context, GGML_TYPE_F32, kDim, 1, heads, kSequences);
    ggml_tensor* const k = ggml_new_tensor_4d(context, type, kDim, kSlots, kHeads, kSequences);
    ggml_tensor* const v = ggml_new_tensor_4d(context, type, kDim, kSlots, kHeads, kSequences);
    out_ = ggml_flash_attn_ext(context, q, k, v, nullptr, kScale, 0, 0);
    results_.resize(inputs.queries.size());
    q->data = inputs.queries.data();
    k->data = inputs.keys.data();
    v->data = inputs.values.data();
    out_->data = results_.data();
    graph_ = ggml_new_graph(context);
    ggml_build_forward_expand(graph_, out_);
    ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    pool_.reset(ggml_threadpool_new(&params));
    plan_ = ggml_graph_plan(graph_, threads, pool_.get());
    work_.resize(plan_.work_size);
    plan_.work_data = work_.data();
  }

  void attend() { ggml_graph_compute(graph_, &plan_); }
  [[nodiscard]] const std::vector<float>& out() const { return results_; }

 private:
  struct Free {
    void operator()(ggml_context* context) const { ggml_free(context); }
    void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
  };
  std::unique_ptr<ggml_context, Free> context_;
  std::unique_ptr<ggml_threadpool, Free> pool_;
  std::vector<float> results_;
  std::vector<uint8_t> work_;
  ggml_tensor* out_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
  ggml_cplan plan_{};
};

/// Bytes per second that both sides reach stand in the row.
nlohmann::json measure(DType dtype, const char* text, int32_t group, const Options& options) {
  Inputs inputs{dtype, group};
  Ours ours{inputs, options.threads};
  Theirs theirs{inputs, options.threads};
  const Ratio ratio = compare([&] { theirs.attend(); }, [&] { ours.attend(); }, options.rounds, 1, 1);
  float difference = 0;
  for (std::size_t i = 0; i < ours.out().size(); ++i) {
    difference = std::max(difference, std::abs(ours.out()[i] - theirs.out()[i]));
  }
  if (!(difference < 0.02F)) {
    std::fprintf(stderr, "llama_cpp_attention: outputs differ by %g\n", static_cast<double>(difference));
    std::exit(1);
  }
  auto row = make_row({"decode attention beside llama.cpp, speed",
                       std::string(text) + ", group " + std::to_string(group), ">= 1", "ggml's flash attention"},
                      ratio.ratio);
  const double bytes = static_cast<double>(inputs.keys.size() + inputs.values.size());
  row["attend_gb_per_s"] = bytes / ratio.second * 1e-9;
  row["peer_gb_per_s"] = bytes / ratio.first * 1e-9;
  row["largest_difference"] = difference;
  return row;
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = i + 1 < argc ? argv[i + 1] : "";
    int number = 0;
    const bool is_number = std::from_chars(value.data(), value.data() + value.size(), number).ec == std::errc{};
    if (name == "--json" && !value.empty()) {
      options.file = value;
    } else if (name == "--threads" && is_number && number >= 0) {
      options.threads = number;
    } else if (name == "--rounds" && is_number && number > 0) {
      options.rounds = number;
    } else {
      return false;
    }
  }
  return true;
}

int run(Options options) {
  ggml_cpu_init();
  if (options.threads == 1) use_processor_time();
  if (options.threads == 0) options.threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  nlohmann::json rows = nlohmann::json::array();
  for (const auto& [dtype, text] :
       {std::pair{DType::float16, "fp16"}, {DType::bfloat16, "bf16"}, {DType::float32, "fp32"}}) {
    for (const int32_t group : {1, 4, 8}) rows.push_back(measure(dtype, text, group, options));
  }
  if (!options.file.empty()) std::ofstream(options.file) << nlohmann::json{{"rows", rows}}.dump(1) << '\n';
  return 0;
}

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  hashevict::bench::Options options;
  if (hashevict::bench::parse(argc, argv, options)) return hashevict::bench::run(options);
  std::fputs("usage: llama_cpp_attention [--json FILE] [--threads N] [--rounds N]\n", stderr);
  return 2;
}
