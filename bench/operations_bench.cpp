// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "axes.hpp"
#include "read_bandwidth.hpp"
#include "workload.hpp"

/// One benchmark per operation. Axes: sequences, slots, hash_bits, group_size, dtype (0 fp32, 1 fp16, 2 bf16), threads
/// (0: all), ragged (1: heads of other capacities than their mean, which is `slots`).
namespace hashevict::bench {
namespace {

Shape shape_of(const benchmark::State& state, Preset preset = Preset::paper) {
  Shape shape = step_shape(state, preset);
  shape.num_threads = static_cast<int32_t>(state.range(5));
  shape.ragged = state.range(6) != 0;
  return shape;
}

void name_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "slots", "bits", "group", "dtype", "threads", "ragged"});
}

void step_axes(benchmark::internal::Benchmark* benchmark) {
  name_axes(benchmark);
  for (const int64_t sequences : {1, 8}) benchmark->Args({sequences, 4096, 16, 4, 2, 0, 0});
  for (const int64_t bits : {8, 32, 64, 128}) benchmark->Args({8, 4096, bits, 4, 2, 0, 0});
  for (const int64_t group : {1, 8}) benchmark->Args({8, 4096, 16, group, 2, 0, 0});
  for (const int64_t dtype : {0, 1}) benchmark->Args({8, 4096, 16, 4, dtype, 0, 0});
  benchmark->Args({8, 4096, 16, 4, 2, 1, 0});
  benchmark->Args({32, 1024, 16, 4, 2, 0, 0});
  for (const int64_t sequences : {1, 8}) benchmark->Args({sequences, 4096, 16, 4, 2, 0, 1});
  benchmark->UseRealTime()->Unit(benchmark::kMicrosecond);
}

/// The hash widths of learned codes.
void recall_axes(benchmark::internal::Benchmark* benchmark) {
  name_axes(benchmark);
  for (const int64_t bits : {32, 64}) benchmark->Args({8, 4096, bits, 4, 2, 0, 0});
  benchmark->UseRealTime()->Unit(benchmark::kMicrosecond);
}

void evict(benchmark::State& state, Preset preset) {
  Workload load{shape_of(state, preset)};
  for (auto _ : state) load.cache().evict(of_step<EvictArgs>(load.step()), Stream{});
  state.SetBytesProcessed(state.iterations() * load.code_bytes());
}
BENCHMARK_CAPTURE(evict, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(evict, recall, Preset::recall)->Apply(recall_axes);

void append(benchmark::State& state, Preset preset) {
  Workload load{shape_of(state, preset)};
  for (auto _ : state) load.cache().append(of_step<AppendArgs>(load.step()), Stream{});
  state.SetBytesProcessed(state.iterations() * load.code_bytes());
}
BENCHMARK_CAPTURE(append, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(append, recall, Preset::recall)->Apply(recall_axes);

void attend(benchmark::State& state) {
  Workload load{shape_of(state)};
  for (auto _ : state) load.cache().attend(of_step<AttendArgs>(load.step()), Stream{});
  state.SetBytesProcessed(state.iterations() * load.kv_bytes());
}
BENCHMARK(attend)->Apply(step_axes);

/// One head on one thread, from the processor's caches: the cost of attention without that of memory.
void attend_in_cache(benchmark::State& state) {
  Shape shape;
  shape.num_sequences = shape.num_kv_heads = shape.num_threads = 1;
  shape.capacity = 1024;
  shape.group_size = static_cast<int32_t>(state.range(0));
  shape.dtype = static_cast<DType>(state.range(1));
  Workload load{shape};
  for (auto _ : state) load.cache().attend(of_step<AttendArgs>(load.step()), Stream{});
  state.SetItemsProcessed(state.iterations() * shape.capacity);  // slots
  state.SetBytesProcessed(state.iterations() * load.kv_bytes());
}
BENCHMARK(attend_in_cache)
    ->ArgNames({"group", "dtype"})
    ->ArgsProduct({{1, 4, 8}, {0, 1, 2}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

void decode(benchmark::State& state, Preset preset) {
  Workload load{shape_of(state, preset)};
  for (auto _ : state) load.cache().decode(load.step(), Stream{});
  state.SetBytesProcessed(state.iterations() * (load.kv_bytes() + load.code_bytes()));
}
BENCHMARK_CAPTURE(decode, paper, Preset::paper)->Apply(step_axes);
BENCHMARK_CAPTURE(decode, recall, Preset::recall)->Apply(recall_axes);

void prefill(benchmark::State& state) {
  Workload load{prefill_shape(state), kPromptTokens};
  const PrefillArgs prompt = prefill_step(state, load);
  for (auto _ : state) {
    load.cache().reset(Stream{});
    load.cache().prefill(prompt, Stream{});
  }
  state.SetItemsProcessed(state.iterations() * kPromptTokens);
}
BENCHMARK(prefill)->Apply(prefill_axes)->UseRealTime();

/// attention: 0 streamed, 1 full.
void prefill_attention(benchmark::State& state) {
  const int64_t tokens = state.range(0);
  Workload load{prefill_attention_shape(state), tokens};
  PrefillArgs prompt = load.prompt();
  prompt.attention = static_cast<PrefillAttention>(state.range(5));
  for (auto _ : state) {
    load.cache().reset(Stream{});
    load.cache().prefill(prompt, Stream{});
  }
  state.SetItemsProcessed(state.iterations() * tokens);
}
BENCHMARK(prefill_attention)->Apply(prefill_attention_axes)->UseRealTime();

void encode(benchmark::State& state) {
  constexpr int64_t kTokens = 8192;
  const Shape shape = encode_shape(state);
  Workload load{shape, kTokens};
  const int64_t bytes = shape.hash_bits / 8;
  std::vector<uint8_t> codes(static_cast<std::size_t>(kTokens * shape.num_kv_heads * bytes));
  const Tensor target(codes.data(), {kTokens, shape.num_kv_heads, bytes});
  for (auto _ : state) load.cache().encode(0, 0, EncodeAs::keys, load.prompt().k, target, Stream{});
  state.SetBytesProcessed(state.iterations() * kTokens * shape.num_kv_heads * shape.head_dim * 2);
}
BENCHMARK(encode)->Apply(encode_axes)->UseRealTime()->Unit(benchmark::kMillisecond);

void read_memory(benchmark::State& state) {
  ReadBandwidth memory{int64_t{256} << 20, static_cast<int32_t>(state.range(0))};
  for (auto _ : state) benchmark::DoNotOptimize(memory.read_once());
  state.SetBytesProcessed(state.iterations() * memory.bytes());
}
BENCHMARK(read_memory)->ArgName("threads")->Arg(1)->Arg(0)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hashevict::bench

BENCHMARK_MAIN();
