// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "axes.hpp"
#include "device.hpp"
#include "workload.hpp"
#ifdef HASHEVICT_HAS_FLASHINFER
#include "flash_infer.hpp"
#endif

/// One benchmark per operation of the CUDA backend, timed by events on the device. Counters: `of_copy`, bytes moved per
/// second over the rate of a copy within device memory, measured at the start; `launches` per call. Axes as in
/// operations_bench.cpp. Peers: `launch`, a kernel that does nothing, `attend` beside `decode`, and where its headers
/// were found `flash_infer`: FlashInfer's attention over the same keys and values, planned beforehand.
namespace hashevict::bench {
namespace {

double measured_copy_rate = 0;

/// A workload on the device, with the memory that its inputs lie in.
class DeviceWorkload {
 public:
  explicit DeviceWorkload(Shape shape, int64_t prompt_tokens = 0)
      : load_{(shape.backend = Backend::cuda, shape), prompt_tokens,
              [this](const void* host, std::size_t bytes) { return buffers_.place(host, bytes); }} {}

  Workload& operator*() { return load_; }
  Workload* operator->() { return &load_; }
  DeviceBuffers& buffers() { return buffers_; }

 private:
  DeviceBuffers buffers_;  // made before what lies in it
  Workload load_;
};

void step_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype"});
  for (const int64_t sequences : {1, 8, 32}) benchmark->Args({sequences, 4096, 16, 4, 2});
  for (const int64_t bits : {8, 32, 64, 128}) benchmark->Args({32, 4096, bits, 4, 2});
  for (const int64_t group : {1, 2, 8}) benchmark->Args({32, 4096, 16, group, 2});
  for (const int64_t slots : {1024, 9824, 16384, 32768}) benchmark->Args({8, slots, 16, 4, 2});  // 9824: 30 % of 32768
  benchmark->Args({32, 4096, 16, 4, 1});
  benchmark->UseManualTime()->Unit(benchmark::kMicrosecond);
}

/// The bits that are learned.
void recall_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype"});
  for (const int64_t bits : {32, 64}) benchmark->Args({32, 4096, bits, 4, 2});
  benchmark->UseManualTime()->Unit(benchmark::kMicrosecond);
}

/// Times `call` and adds its counters.
void measure(benchmark::State& state, DeviceClock& clock, double bytes, const std::function<void()>& call) {
  constexpr int kRepeats = 20;
  clock.seconds(kRepeats, call);  // warms up
  double seconds = 0;
  for (auto _ : state) {
    seconds = clock.seconds(kRepeats, call);
    state.SetIterationTime(seconds);
  }
  state.counters["of_copy"] = bytes / seconds / measured_copy_rate;
  state.counters["bytes"] = bytes;
  state.counters["launches"] = clock.num_launches(call);
  state.counters["graph_us"] = clock.replay_seconds(kRepeats, call) * 1e6;
}

void launch(benchmark::State& state) {
  DeviceClock clock;
  measure(state, clock, 0, [&] { launch_nothing(clock.stream()); });
}
BENCHMARK(launch)->UseManualTime()->Unit(benchmark::kMicrosecond);

void evict(benchmark::State& state, Preset preset) {
  DeviceWorkload load{step_shape(state, preset)};
  DeviceClock clock;
  const auto bytes = static_cast<double>(load->code_bytes());
  measure(state, clock, bytes, [&] { load->cache().evict(load->step(), Stream{clock.stream()}); });
}
BENCHMARK_CAPTURE(evict, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(evict, recall, Preset::recall)->Apply(recall_axes);

void attend(benchmark::State& state) {
  DeviceWorkload load{step_shape(state, Preset::paper)};
  DeviceClock clock;
  const auto bytes = static_cast<double>(load->kv_bytes());
  measure(state, clock, bytes, [&] { load->cache().attend(load->step(), Stream{clock.stream()}); });
}
BENCHMARK(attend)->Apply(step_axes);

void decode(benchmark::State& state, Preset preset) {
  DeviceWorkload load{step_shape(state, preset)};
  DeviceClock clock;
  const auto bytes = static_cast<double>(load->kv_bytes() + load->code_bytes());
  measure(state, clock, bytes, [&] { load->cache().decode(load->step(), Stream{clock.stream()}); });
}
BENCHMARK_CAPTURE(decode, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(decode, recall, Preset::recall)->Apply(recall_axes);

#ifdef HASHEVICT_HAS_FLASHINFER
/// Whether two calls write the same to `out`, but for the rounding of what lies between.
bool agree(const Tensor& out, const std::function<void()>& one, const std::function<void()>& other) {
  constexpr float kTolerance = 0.03F;  // of the largest element: a few units of bf16
  const std::vector<float> a = written_by(one, out);
  const std::vector<float> b = written_by(other, out);
  float largest = 0;
  for (const float x : a) largest = std::max(largest, std::abs(x));
  return std::equal(a.begin(), a.end(), b.begin(),
                    [&](float x, float y) { return std::abs(x - y) <= kTolerance * largest; });
}

void flash_infer(benchmark::State& state) {
  DeviceWorkload load{step_shape(state, Preset::paper)};
  DeviceClock clock;
  const auto path = static_cast<FlashInferPath>(state.range(5));
  const Attend peer = plan_flash_infer(*load, path, load.buffers(), clock.stream());
  const Step step = load->step();
  const auto attend = [&] { load->cache().attend(step, Stream{clock.stream()}); };
  if (!agree(step.out, attend, [&] { peer(step, clock.stream()); })) {
    state.SkipWithError("its output is not that of attend");
    return;
  }
  const auto bytes = static_cast<double>(load->kv_bytes());
  measure(state, clock, bytes, [&] { peer(load->step(), clock.stream()); });
}

void peer_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype", "tensor_cores"});
  for (const int64_t tensor_cores : {0, 1}) {
    for (const int64_t sequences : {1, 8, 32}) benchmark->Args({sequences, 4096, 16, 4, 2, tensor_cores});
    for (const int64_t group : {1, 2, 8}) benchmark->Args({32, 4096, 16, group, 2, tensor_cores});
    for (const int64_t slots : {1024, 16384, 32768}) benchmark->Args({8, slots, 16, 4, 2, tensor_cores});
    benchmark->Args({32, 4096, 16, 4, 1, tensor_cores});
  }
  benchmark->UseManualTime()->Unit(benchmark::kMicrosecond);
}
BENCHMARK(flash_infer)->Apply(peer_axes);
#endif

void prefill(benchmark::State& state) {
  const Shape shape = prefill_shape(state);
  DeviceWorkload load{shape, kPromptTokens};
  const Step prompt = prefill_step(state, *load);
  DeviceClock clock;
  const double token = 2.0 * shape.num_kv_heads * shape.head_dim * sizeof(uint16_t);
  // Keys and queries are encoded, then keys and values of those that stay are copied.
  const double bytes = token * (0.5 * (1 + shape.group_size) * kPromptTokens + 2.0 * shape.capacity);
  measure(state, clock, bytes, [&] {
    load->cache().reset(Stream{clock.stream()});
    load->cache().prefill(prompt, Stream{clock.stream()});
  });
}
BENCHMARK(prefill)->Apply(prefill_axes)->UseManualTime();

void encode(benchmark::State& state) {
  constexpr int64_t kTokens = 32768;
  const Shape shape = encode_shape(state);
  DeviceWorkload load{shape, kTokens};
  const int64_t code_bytes = shape.hash_bits / 8;
  const int64_t codes = kTokens * shape.num_kv_heads * code_bytes;
  const Tensor target(static_cast<uint8_t*>(load.buffers().allocate(static_cast<std::size_t>(codes))),
                      {kTokens, shape.num_kv_heads, code_bytes});
  DeviceClock clock;
  const auto bytes = static_cast<double>(kTokens * shape.num_kv_heads * shape.head_dim * 2 + codes);
  measure(state, clock, bytes,
          [&] { load->cache().encode(0, 0, EncodeAs::keys, load->prompt().k, target, Stream{clock.stream()}); });
}
BENCHMARK(encode)->Apply(encode_axes)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace hashevict::bench

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    if (hashevict::Cache::capabilities(hashevict::Backend::automatic).num_cuda_devices == 0) {
      std::fprintf(stderr, "hashevict_device_bench: no CUDA device can be used here\n");
      return 2;
    }
    hashevict::bench::measured_copy_rate = hashevict::bench::copy_rate();
    benchmark::AddCustomContext("copy_bytes_per_second", std::to_string(hashevict::bench::measured_copy_rate));
    benchmark::RunSpecifiedBenchmarks();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "hashevict_device_bench: %s\n", failure.what());
    return 1;
  }
  return 0;
}
