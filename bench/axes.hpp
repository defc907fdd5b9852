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
