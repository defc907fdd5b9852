// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <random>
#include <vector>

#include "hashevict/cache.hpp"

namespace hashevict::bench {

/// Shape of the layers under load. Defaults: the shape of the goals in docs/performance.md.
struct Shape {
  int32_t num_layers = 1;
  int32_t num_sequences = 8;
  int32_t num_kv_heads = 8;
  int32_t group_size = 4;
  int32_t head_dim = 128;
  int32_t capacity = 4096;  ///< slots of a KV head; their mean where heads are ragged
  int32_t hash_bits = 16;
  DType dtype = DType::bfloat16;
  Preset preset = Preset::paper;  ///< except for hash_bits
  std::optional<Policy> policy;   ///< instead of the preset's; importances are given
  Layout layout = Layout::head_major;
  int32_t num_threads = 0;
  bool prompt_attends = false;  ///< whether the prompt has `out`
  Backend backend = Backend::cpu;
  /// Whether heads differ as calibrated ones do: of every eight, one has four times the mean capacity, one twice, two a
  /// half and four a quarter. num_kv_heads is then a multiple of 8. HEAD_MAJOR only.
  bool ragged = false;
};

/// Slots of each KV head of a layer; their mean is the capacity.
[[nodiscard]] std::vector<int32_t> head_capacities(const Shape& shape);

/// Bytes of one layer's keys and values, which its attention reads.
[[nodiscard]] int64_t kv_bytes(const Shape& shape);
/// Bytes of one layer's codes and positions, which its scan reads.
[[nodiscard]] int64_t code_bytes(const Shape& shape);

/// Copies a workload's inputs, `bytes` bytes, to memory of the shape's backend, and owns the copy.
using Place = std::function<void*(const void* host, std::size_t bytes)>;

/// The arguments of another operation on the same step: the fields of `step` that `Args` has.
template <class Args>
[[nodiscard]] Args of_step(const DecodeArgs& step) {
  Args args;
  args.layer = step.layer;
  args.batch = step.batch;
  args.q = step.q;
  if constexpr (requires { args.k; }) args.k = step.k;
  if constexpr (requires { args.v; }) args.v = step.v;
  if constexpr (requires { args.out; }) args.out = step.out;
  if constexpr (requires { args.importance; }) args.importance = step.importance;
  return args;
}

/// A cache with full layers and inputs for one token per sequence; or an empty cache and a prompt. Inputs have the
/// storage dtype. On a device, the work that fills the layers is on the default stream and may still run.
class Workload {
 public:
  /// @param place required for any backend but the CPU
  explicit Workload(const Shape& shape, int64_t prompt_tokens = 0, Place place = {});

  /// One token per sequence, for any operation on a step. Each call gives the next layer and other tokens: windows into
  /// a pool of random numbers, so that codes vary as in real use and cost nothing to make.
  [[nodiscard]] const DecodeArgs& step();
  /// A prompt of sequence 0.
  [[nodiscard]] const PrefillArgs& prompt() const { return prompt_; }
  [[nodiscard]] Cache& cache() { return cache_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }

  /// Bytes that attention reads in one layer; below, those that a scan reads.
  [[nodiscard]] int64_t kv_bytes() const { return bench::kv_bytes(shape_); }
  [[nodiscard]] int64_t code_bytes() const { return bench::code_bytes(shape_); }

 private:
  /// Fills every layer, chunk by chunk.
  void fill();
  /// Sets the projections that a preset of learned codes needs; the time does not depend on their values.
  void set_projections();
  /// A tensor followed by `extra` elements beyond its shape.
  Tensor random_tensor(int64_t tokens, int64_t heads, int64_t extra = 0);
  /// A tensor of the pool's shape further on in its memory, at a different place in each step.
  Tensor window(const Tensor& pool) const;
  /// Importances of the keys of so many tokens; empty if the policy reads none.
  Tensor importances(int64_t tokens);
  template <class T>
  Tensor placed(std::vector<T> values);
  /// Stores bytes in the backend's memory for the lifetime of the workload.
  void* keep(std::vector<unsigned char> bytes);

  Shape shape_;
  Place place_;
  Cache cache_;
  std::mt19937 generator_{12345};
  std::vector<unsigned char> random_;  ///< elements of the storage dtype, a prime number of them
  std::vector<std::vector<unsigned char>> buffers_;
  int64_t num_steps_ = 0;
  DecodeArgs step_, pool_;
  PrefillArgs prompt_;
};

}  // namespace hashevict::bench
