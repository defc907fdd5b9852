// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "hashevict/cache.hpp"

namespace hashevict::bench {

/// Shape of one layer under load. Defaults: the shape of the goals in docs/performance.md.
struct Shape {
  int32_t num_sequences = 8;
  int32_t num_kv_heads = 8;
  int32_t group_size = 4;
  int32_t head_dim = 128;
  int32_t capacity = 4096;
  int32_t hash_bits = 16;
  DType dtype = DType::bfloat16;
  Preset preset = Preset::paper;  ///< but for the bits
  Layout layout = Layout::head_major;
  int32_t num_threads = 0;
  Backend backend = Backend::cpu;
};

/// Where a workload puts its inputs: copies `bytes` bytes to memory of the shape's backend, which it keeps.
using Place = std::function<void*(const void* host, std::size_t bytes)>;

/// A full cache of one layer, with inputs for one token per sequence (or a prompt) in the storage dtype.
class Workload {
 public:
  /// @param place for a backend other than the CPU
  explicit Workload(const Shape& shape, int64_t prompt_tokens = 0, Place place = {});

  /// One token per sequence, fields of every operation filled in. Each call gives other tokens: windows into a pool of
  /// random numbers, so that codes differ as they do in life and making them costs nothing.
  [[nodiscard]] const Step& step();
  /// A prompt of sequence 0.
  [[nodiscard]] const Step& prompt() const { return prompt_; }
  [[nodiscard]] Cache& cache() { return cache_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }

  /// Bytes of keys and values that attention reads.
  [[nodiscard]] int64_t kv_bytes() const;
  /// Bytes of codes and positions that a scan reads.
  [[nodiscard]] int64_t code_bytes() const;

 private:
  /// A tensor with `extra` more elements behind it than its shape says.
  Tensor random_tensor(int64_t tokens, int64_t heads, int64_t extra = 0);
  Tensor window(const Tensor& pool) const;
  template <class T>
  Tensor placed(std::vector<T>& values) const;

  Shape shape_;
  Place place_;
  Cache cache_;
  std::mt19937 generator_{12345};
  std::vector<std::vector<uint32_t>> buffers_;
  std::vector<int32_t> prompt_offsets_, prompt_rows_;
  int64_t num_steps_ = 0;
  Step step_, pool_, prompt_;
};

}  // namespace hashevict::bench
