// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "authors_steps.hpp"
#include "axes.hpp"
#include "device.hpp"
#include "workload.hpp"
#ifdef HASHEVICT_HAS_FLASHINFER
#include "flash_infer.hpp"
#endif
#ifdef HASHEVICT_KERNEL_CLOCKS
#include "kernels/clocks.hpp"
#endif

/// One benchmark per operation of the CUDA backend, timed by events on the device. Axes as in operations_bench.cpp.
/// Peers: `launch`, an empty kernel; `attend`, and `append_attend` in two launches, beside `decode`; `authors_steps`,
/// one launch for each tensor operation of the authors' code, beside `evict`; and, if the build found its headers,
/// `flash_infer`: FlashInfer's attention over the same keys and values, planned beforehand.
///
/// Each call takes the next of `layers` layers. Together they have four times the bytes of the L2 cache (`of_l2`), or
/// fill a third of the free memory. Counters: `bytes` per call; `median_us`; `of_read` and `of_copy`, bytes per second
/// relative to the rates of a kernel that only reads and of a copy within device memory, both measured at the start;
/// `launches` per call; `graph_us`, time per call if `graph_calls` of them form one graph that is replayed, which
/// excludes the host's cost of a launch; in a build with HASHEVICT_KERNEL_CLOCKS, `cycles:FILE:PHASE`, the mean of each
/// phase of the kernels.
namespace hashevict::bench {
namespace {

DeviceFacts device;
int failures = 0;

/// The number of layers to cycle through, so that none is still in the L2 cache at its next turn.
int32_t cold_layers(const Shape& shape, int64_t bytes) {
  constexpr double kOfL2 = 4;
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total));
  const double wanted = std::ceil(kOfL2 * static_cast<double>(device.l2_bytes) / static_cast<double>(bytes));
  const double most = static_cast<double>(free) / 3 / static_cast<double>(kv_bytes(shape) + code_bytes(shape));
  return static_cast<int32_t>(std::max(1.0, std::min(wanted, std::floor(most))));
}

/// A workload on the device, with the memory of its inputs.
class DeviceWorkload {
 public:
  /// @param bytes that a call reads in one layer; 0: a single layer suffices
  explicit DeviceWorkload(Shape shape, int64_t bytes, int64_t prompt_tokens = 0)
      : load_{on_device(shape, bytes), prompt_tokens,
              [this](const void* host, std::size_t size) { return buffers_.place(host, size); }} {}

  Workload& operator*() { return load_; }
  Workload* operator->() { return &load_; }
  DeviceBuffers& buffers() { return buffers_; }

 private:
  static Shape on_device(Shape shape, int64_t bytes) {
    shape.backend = Backend::cuda;
    if (bytes > 0) shape.num_layers = cold_layers(shape, bytes);
    return shape;
  }

  DeviceBuffers buffers_;  // created before its contents
  Workload load_;
};

constexpr int kRounds = 20;
constexpr int kCalls = 20;  ///< calls in a round, and the minimum in a graph

void time_by_events(benchmark::internal::Benchmark* benchmark) {
  benchmark->UseManualTime()->Unit(benchmark::kMicrosecond)->Iterations(kRounds);
}

void step_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype"});
  for (const int64_t sequences : {1, 8, 32}) benchmark->Args({sequences, 4096, 16, 4, 2});
  for (const int64_t bits : {8, 32, 64, 128}) benchmark->Args({32, 4096, bits, 4, 2});
  for (const int64_t group : {1, 2, 8}) benchmark->Args({32, 4096, 16, group, 2});
  for (const int64_t slots : {1024, 9824, 16384, 32768}) benchmark->Args({8, slots, 16, 4, 2});  // 9824: 30 % of 32768
  benchmark->Args({32, 4096, 16, 4, 1});
  time_by_events(benchmark);
}

/// The most telling of the benchmarks with the axes above, for a short run.
constexpr const char* kShortFilter =
    "^(decode/paper|attend|evict/paper)/sequences:(1/slots:4096|8/slots:4096|32/slots:4096|8/slots:32768)/"
    "bits:16/group:4/dtype:2/";
constexpr std::size_t kShortBenchmarks = 12;

/// The hash widths of learned codes.
void recall_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype"});
  for (const int64_t bits : {32, 64}) benchmark->Args({32, 4096, bits, 4, 2});
  time_by_events(benchmark);
}

/// Runs a benchmark's body. A failure ends this benchmark; the next one continues.
void guarded(benchmark::State& state, const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& failure) {
    ++failures;
    state.SkipWithError(failure.what());
  }
}

/// Adds the mean cycles of each phase of the kernels that ran since the last call, in a build with marks.
void count_phases([[maybe_unused]] benchmark::State& state) {
#ifdef HASHEVICT_KERNEL_CLOCKS
  using kernels::Phase;
  static constexpr const char* kNames[] = {"find",    "stage",   "encode", "scan",       "queries",
                                           "rows",    "partial", "ticket", "candidates", "merge",
                                           "results", "weights", "bests",  "steps",      "place"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Phase::count));
  kernels::PhaseClock clocks[64];
  const int32_t count = hashevict_read_kernel_clocks(clocks, static_cast<int32_t>(std::size(clocks)));
  for (int32_t i = 0; i < count; ++i) {
    const std::string name =
        std::string{"cycles:"} + clocks[i].file + ":" + kNames[static_cast<int32_t>(clocks[i].phase)];
    state.counters[name] = static_cast<double>(clocks[i].cycles) / static_cast<double>(clocks[i].marks);
  }
#endif
}

/// Times `call`, which moves `bytes` and cycles through `layers` layers, and adds its counters.
void measure(benchmark::State& state, DeviceClock& clock, double bytes, int layers, const std::function<void()>& call) {
  clock.seconds(std::max(kCalls, layers), call);  // warm-up
  count_phases(state);                            // whose phases the next call overwrites
  std::vector<double> rounds;
  for (auto _ : state) {
    rounds.push_back(clock.seconds(kCalls, call));
    state.SetIterationTime(rounds.back());
  }
  count_phases(state);
  const auto middle = rounds.begin() + std::ssize(rounds) / 2;
  std::nth_element(rounds.begin(), middle, rounds.end());
  const double median = *middle;
  const int graph_calls = std::max(kCalls, layers);
  state.counters["bytes"] = bytes;
  state.counters["layers"] = layers;
  state.counters["of_l2"] = bytes * layers / static_cast<double>(device.l2_bytes);
  state.counters["median_us"] = median * 1e6;
  state.counters["of_read"] = bytes / median / device.read_rate;
  state.counters["of_copy"] = bytes / median / device.copy_rate;
  state.counters["launches"] = clock.num_launches(call);
  const double replayed = clock.replay_seconds(graph_calls, 5, call);
  state.counters["graph_us"] = replayed * 1e6;
  state.counters["graph_calls"] = graph_calls;
  state.counters["graph_of_read"] = bytes / replayed / device.read_rate;
}

void launch(benchmark::State& state) {
  guarded(state, [&] {
    DeviceClock clock;
    measure(state, clock, 0, 1, [&] { launch_nothing(clock.stream()); });
  });
}
BENCHMARK(launch)->Apply(time_by_events);

void evict(benchmark::State& state, Preset preset) {
  guarded(state, [&] {
    const Shape shape = step_shape(state, preset);
    DeviceWorkload load{shape, code_bytes(shape)};
    DeviceClock clock;
    measure(state, clock, static_cast<double>(load->code_bytes()), load->shape().num_layers,
            [&] { load->cache().evict(of_step<EvictArgs>(load->step()), Stream{clock.stream()}); });
  });
}
BENCHMARK_CAPTURE(evict, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(evict, recall, Preset::recall)->Apply(recall_axes);

void attend(benchmark::State& state) {
  guarded(state, [&] {
    const Shape shape = step_shape(state, Preset::paper);
    DeviceWorkload load{shape, kv_bytes(shape)};
    DeviceClock clock;
    measure(state, clock, static_cast<double>(load->kv_bytes()), load->shape().num_layers,
            [&] { load->cache().attend(of_step<AttendArgs>(load->step()), Stream{clock.stream()}); });
  });
}
BENCHMARK(attend)->Apply(step_axes);

void decode(benchmark::State& state, Preset preset) {
  guarded(state, [&] {
    const Shape shape = step_shape(state, preset);
    DeviceWorkload load{shape, kv_bytes(shape)};
    DeviceClock clock;
    measure(state, clock, static_cast<double>(load->kv_bytes() + load->code_bytes()), load->shape().num_layers,
            [&] { load->cache().decode(load->step(), Stream{clock.stream()}); });
  });
}
BENCHMARK_CAPTURE(decode, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(decode, recall, Preset::recall)->Apply(recall_axes);

/// What decode does in one launch, in two.
void append_attend(benchmark::State& state) {
  guarded(state, [&] {
    const Shape shape = step_shape(state, Preset::paper);
    DeviceWorkload load{shape, kv_bytes(shape)};
    DeviceClock clock;
    measure(state, clock, static_cast<double>(load->kv_bytes() + load->code_bytes()), load->shape().num_layers, [&] {
      const DecodeArgs& step = load->step();
      load->cache().append(of_step<AppendArgs>(step), Stream{clock.stream()});
      load->cache().attend(of_step<AttendArgs>(step), Stream{clock.stream()});
    });
  });
}
BENCHMARK(append_attend)->Apply(step_axes);

/// A step's eviction in the operations of the authors' code: beside `evict`, which leaves keys and values to the
/// caller, it also stores the new rows.
void authors_steps(benchmark::State& state) {
  guarded(state, [&] {
    const Shape shape = step_shape(state, Preset::paper);
    DeviceWorkload load{shape, code_bytes(shape)};
    const AuthorsSteps authors{load->shape(), load.buffers()};
    DeviceClock clock;
    measure(state, clock, static_cast<double>(load->code_bytes()), load->shape().num_layers,
            [&] { authors.evict(load->step(), clock.stream()); });
  });
}
BENCHMARK(authors_steps)->Apply(step_axes);

#ifdef HASHEVICT_HAS_FLASHINFER
/// Whether two calls write the same to `out`, up to intermediate rounding.
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
  guarded(state, [&] {
    const Shape shape = step_shape(state, Preset::paper);
    DeviceWorkload load{shape, kv_bytes(shape)};
    DeviceClock clock;
    check(cudaDeviceSynchronize());  // planning reads the cache's pages on the clock's stream
    const auto path = static_cast<FlashInferPath>(state.range(5));
    const Attend peer = plan_flash_infer(*load, path, load.buffers(), clock.stream());
    const DecodeArgs step = load->step();
    const auto attend = [&] { load->cache().attend(of_step<AttendArgs>(step), Stream{clock.stream()}); };
    if (!agree(step.out, attend, [&] { peer(step, clock.stream()); })) {
      throw std::runtime_error{"its output is not that of attend"};
    }
    measure(state, clock, static_cast<double>(load->kv_bytes()), load->shape().num_layers,
            [&] { peer(load->step(), clock.stream()); });
  });
}

void peer_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype", "tensor_cores"});
  for (const int64_t tensor_cores : {0, 1}) {
    for (const int64_t sequences : {1, 8, 32}) benchmark->Args({sequences, 4096, 16, 4, 2, tensor_cores});
    for (const int64_t group : {1, 2, 8}) benchmark->Args({32, 4096, 16, group, 2, tensor_cores});
    for (const int64_t slots : {1024, 16384, 32768}) benchmark->Args({8, slots, 16, 4, 2, tensor_cores});
    benchmark->Args({32, 4096, 16, 4, 1, tensor_cores});
  }
  time_by_events(benchmark);
}
BENCHMARK(flash_infer)->Apply(peer_axes);
#endif

void prefill(benchmark::State& state) {
  guarded(state, [&] {
    const Shape shape = prefill_shape(state);
    DeviceWorkload load{shape, 0, kPromptTokens};
    const PrefillArgs prompt = prefill_step(state, *load);
    DeviceClock clock;
    const double token = 2.0 * shape.num_kv_heads * shape.head_dim * sizeof(uint16_t);
    // Keys and queries are encoded, then keys and values of the survivors are copied. The prompt alone takes 100 MB.
    const double bytes = token * (0.5 * (1 + shape.group_size) * kPromptTokens + 2.0 * shape.capacity);
    measure(state, clock, bytes, 1, [&] {
      load->cache().reset(Stream{clock.stream()});
      load->cache().prefill(prompt, Stream{clock.stream()});
    });
  });
}
BENCHMARK(prefill)->Apply(prefill_axes)->Apply(time_by_events);

/// Prompts with their attention. `operations` counts those of plain attention over the keys that the queries see.
void prefill_attention(benchmark::State& state) {
  guarded(state, [&] {
    const int64_t tokens = state.range(0);
    Shape shape = prefill_attention_shape(state);
    shape.num_kv_heads = 8;
    DeviceWorkload load{shape, 0, tokens};
    PrefillArgs prompt = load->prompt();
    prompt.attention = static_cast<PrefillAttention>(state.range(5));
    DeviceClock clock;
    const bool streamed = prompt.attention == PrefillAttention::streamed;
    const double most =
        streamed ? static_cast<double>(std::min<int64_t>(tokens, shape.capacity)) : static_cast<double>(tokens);
    const double keys = most * (static_cast<double>(tokens) - most / 2);  // of the queries of one head
    const double heads = shape.num_kv_heads * shape.group_size;
    state.counters["operations"] = 4.0 * shape.head_dim * heads * keys;
    const double token = static_cast<double>(kv_bytes(shape)) / shape.capacity;  // its key and value
    measure(state, clock, static_cast<double>(tokens) * token * (1 + shape.group_size), 1, [&] {
      load->cache().reset(Stream{clock.stream()});
      load->cache().prefill(prompt, Stream{clock.stream()});
    });
  });
}
void prefill_attention_device_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"tokens", "slots", "dim", "group", "dtype", "attention"});
  for (const int64_t attention : {0, 1}) {
    for (const int64_t dtype : {1, 2}) benchmark->Args({8192, 4096, 128, 4, dtype, attention});
    benchmark->Args({8192, 4096, 64, 4, 2, attention});
    benchmark->Args({32768, 4096, 128, 4, 2, attention});
  }
  benchmark->Args({2048, 1024, 128, 4, 0, 0});  // fp32
}
BENCHMARK(prefill_attention)->Apply(prefill_attention_device_axes)->Apply(time_by_events);

void encode(benchmark::State& state) {
  guarded(state, [&] {
    constexpr int64_t kTokens = 131072;  // 268 MB
    const Shape shape = encode_shape(state);
    DeviceWorkload load{shape, 0, kTokens};
    const int64_t code_bytes = shape.hash_bits / 8;
    const int64_t codes = kTokens * shape.num_kv_heads * code_bytes;
    const Tensor target(static_cast<uint8_t*>(load.buffers().allocate(static_cast<std::size_t>(codes))),
                        {kTokens, shape.num_kv_heads, code_bytes});
    DeviceClock clock;
    const auto bytes = static_cast<double>(kTokens * shape.num_kv_heads * shape.head_dim * 2 + codes);
    measure(state, clock, bytes, 1,
            [&] { load->cache().encode(0, 0, EncodeAs::keys, load->prompt().k, target, Stream{clock.stream()}); });
  });
}
BENCHMARK(encode)->Apply(encode_axes)->Apply(time_by_events);

/// Whether the arguments ask only for names, which needs no device.
bool lists_only(int argc, char** argv) {
  return std::any_of(argv + 1, argv + argc, [](const char* x) { return std::string{x} == "--benchmark_list_tests"; });
}

/// Removes `--short` from the arguments and returns whether it was there.
bool take_short(int& argc, char** argv) {
  char** const end = std::remove_if(argv + 1, argv + argc, [](const char* x) { return std::string{x} == "--short"; });
  const bool found = end != argv + argc;
  argc = static_cast<int>(end - argv);
  return found;
}

void describe_device() {
  device = measure_device();
  benchmark::AddCustomContext("device", device.name);
  benchmark::AddCustomContext("device_l2_bytes", std::to_string(device.l2_bytes));
  benchmark::AddCustomContext("device_memory_bytes", std::to_string(device.memory_bytes));
  benchmark::AddCustomContext("read_bytes_per_second", std::to_string(device.read_rate));
  benchmark::AddCustomContext("copy_bytes_per_second", std::to_string(device.copy_rate));
}

/// Runs the requested benchmarks and returns the exit status.
int run(bool only_short, bool only_list) {
  if (!only_list && Cache::capabilities(Backend::automatic).num_cuda_devices == 0) {
    std::fprintf(stderr, "hashevict_device_bench: no CUDA device can be used here\n");
    return 2;
  }
  if (!only_list) describe_device();
  const std::size_t ran =
      only_short ? benchmark::RunSpecifiedBenchmarks(kShortFilter) : benchmark::RunSpecifiedBenchmarks();
  if (only_short && ran != kShortBenchmarks) {
    std::fprintf(stderr, "hashevict_device_bench: --short ran %zu benchmarks, expected %zu\n", ran, kShortBenchmarks);
    return 1;
  }
  if (failures > 0) std::fprintf(stderr, "hashevict_device_bench: %d benchmarks failed\n", failures);
  return failures > 0 ? 1 : 0;
}

}  // namespace
}  // namespace hashevict::bench

/// Takes the options of Google Benchmark, and `--short`: only twelve configurations.
int main(int argc, char** argv) {
  const bool only_short = hashevict::bench::take_short(argc, argv);
  const bool only_list = hashevict::bench::lists_only(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    return hashevict::bench::run(only_short, only_list);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "hashevict_device_bench: %s\n", failure.what());
    return 1;
  }
}
