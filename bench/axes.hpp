// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

#include "workload.hpp"

// The axes of both backends' benchmarks, and the shape at a point on them.
namespace hashevict::bench {

/// A point of (sequences, slots, bits, group, dtype); dtype: 0 fp32, 1 fp16, 2 bf16.
inline Shape step_shape(const benchmark::State& state, Preset preset) {
  Shape shape;
  shape.preset = preset;
  shape.num_sequences = static_cast<int32_t>(state.range(0));
  shape.capacity = static_cast<int32_t>(state.range(1));
  shape.hash_bits = static_cast<int32_t>(state.range(2));
  shape.group_size = static_cast<int32_t>(state.range(3));
  shape.dtype = static_cast<DType>(state.range(4));
  return shape;
}

constexpr int64_t kPromptTokens = 8192;

/// mode: PrefillMode
inline void prefill_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"slots", "bits", "mode"})->ArgsProduct({{1024, 4096}, {16, 64}, {0, 1, 2}});
  benchmark->Unit(benchmark::kMillisecond);
}

inline Shape prefill_shape(const benchmark::State& state) {
  Shape shape;
  shape.num_sequences = 1;
  shape.capacity = static_cast<int32_t>(state.range(0));
  shape.hash_bits = static_cast<int32_t>(state.range(1));
  return shape;
}

inline PrefillArgs prefill_step(const benchmark::State& state, const Workload& load) {
  PrefillArgs prompt = load.prompt();
  prompt.mode = static_cast<PrefillMode>(state.range(2));
  return prompt;
}

/// A prompt with its attention, of which `slots` tokens stay.
inline void prefill_attention_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"tokens", "slots", "dim", "group", "dtype", "attention"});
  for (const int64_t dim : {64, 128}) {
    for (const int64_t group : {1, 3, 4}) {
      for (const int64_t slots : {614, 2048}) benchmark->Args({2048, slots, dim, group, 0, 0});
      benchmark->Args({8192, 2457, dim, group, 0, 0});
    }
  }
  for (const int64_t dtype : {1, 2}) benchmark->Args({2048, 614, 128, 4, dtype, 0});
  benchmark->Args({2048, 614, 128, 4, 0, 1});
  benchmark->Unit(benchmark::kMillisecond);
}

inline Shape prefill_attention_shape(const benchmark::State& state) {
  Shape shape;
  shape.num_sequences = 1;
  shape.num_kv_heads = 2;
  shape.capacity = static_cast<int32_t>(state.range(1));
  shape.head_dim = static_cast<int32_t>(state.range(2));
  shape.group_size = static_cast<int32_t>(state.range(3));
  shape.dtype = static_cast<DType>(state.range(4));
  shape.prompt_attends = true;
  return shape;
}

inline void encode_axes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("bits")->Arg(8)->Arg(16)->Arg(32)->Arg(64)->Arg(128);
}

inline Shape encode_shape(const benchmark::State& state) {
  Shape shape;
  shape.num_sequences = 1;
  shape.hash_bits = static_cast<int32_t>(state.range(0));
  return shape;
}

}  // namespace hashevict::bench
