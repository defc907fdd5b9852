// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace hashevict::bench {
namespace {

Config make_config(const Shape& shape, int64_t prompt_tokens) {
  Config config = Config::preset(shape.preset);
  config.backend = shape.backend;
  config.num_layers = 1;
  config.num_sequences = shape.num_sequences;
  config.num_kv_heads = shape.num_kv_heads;
  config.num_qo_heads = shape.num_kv_heads * shape.group_size;
  config.head_dim = shape.head_dim;
  config.capacity = shape.capacity;
  config.hash_bits = shape.hash_bits;
  config.dtype = shape.dtype;
  config.layout = shape.layout;
  config.num_threads = shape.num_threads;
  config.max_batch_tokens = std::max<int64_t>({prompt_tokens, shape.num_sequences, 1});
  return config;
}

constexpr int64_t kPoolElements = int64_t{1} << 20;

int32_t element_bytes(DType dtype) {
  return dtype == DType::float32 ? 4 : 2;
}

}  // namespace

Workload::Workload(const Shape& shape, int64_t prompt_tokens, Place place)
    : shape_{shape}, place_{std::move(place)}, cache_{make_config(shape, prompt_tokens)} {
  const int64_t rows = shape.num_sequences;
  const int64_t qo_heads = int64_t{shape.num_kv_heads} * shape.group_size;
  step_.q = random_tensor(rows, qo_heads, kPoolElements);
  step_.k = random_tensor(rows, shape.num_kv_heads, kPoolElements);
  step_.v = random_tensor(rows, shape.num_kv_heads, kPoolElements);
  step_.out = random_tensor(rows, qo_heads);
  pool_ = step_;
  if (prompt_tokens > 0) {
    prompt_.q = random_tensor(prompt_tokens, qo_heads);
    prompt_.k = random_tensor(prompt_tokens, shape.num_kv_heads);
    prompt_.v = random_tensor(prompt_tokens, shape.num_kv_heads);
    prompt_offsets_ = {0, static_cast<int32_t>(prompt_tokens)};
    prompt_rows_ = {0};
    prompt_.cu_seqlens = placed(prompt_offsets_);
    prompt_.row_to_sequence = placed(prompt_rows_);
    return;
  }
  for (int32_t token = 0; token < shape.capacity; ++token) cache_.append(step(), Stream{});
}

const Step& Workload::step() {
  ++num_steps_;
  step_.q = window(pool_.q);
  step_.k = window(pool_.k);
  step_.v = window(pool_.v);
  return step_;
}

Tensor Workload::window(const Tensor& pool) const {
  constexpr int64_t kStride = 8 * 9973;  // elements; keeps rows aligned and visits the whole pool
  Tensor shifted = pool;
  const int64_t offset = num_steps_ * kStride % kPoolElements * element_bytes(shape_.dtype);
  shifted.data = static_cast<unsigned char*>(pool.data) + offset;
  return shifted;
}

Tensor Workload::random_tensor(int64_t tokens, int64_t heads, int64_t extra) {
  const int64_t elements = tokens * heads * shape_.head_dim + extra;
  const int64_t bytes = elements * element_bytes(shape_.dtype);
  std::vector<uint32_t>& buffer = buffers_.emplace_back(static_cast<std::size_t>((bytes + 3) / 4));
  std::normal_distribution<float> normal;
  for (uint32_t& word : buffer) {
    // Two halves of a normal number, or one: finite in each of the three dtypes.
    const float value = normal(generator_);
    std::memcpy(&word, &value, sizeof word);
    if (shape_.dtype != DType::float32) word = (word & 0xFFFF0000U) | word >> 16;
    if (shape_.dtype == DType::float16) word &= 0xBFFFBFFFU;
  }
  void* data = buffer.data();
  if (place_) data = place_(data, buffer.size() * sizeof(uint32_t));
  return Tensor(data, shape_.dtype, {tokens, heads, shape_.head_dim});
}

template <class T>
Tensor Workload::placed(std::vector<T>& values) const {
  void* data = values.data();
  if (place_) data = place_(data, values.size() * sizeof(T));
  return Tensor(static_cast<T*>(data), {static_cast<int64_t>(values.size())});
}

int64_t Workload::kv_bytes() const {
  return int64_t{2} * shape_.num_sequences * shape_.num_kv_heads * shape_.capacity * shape_.head_dim *
         element_bytes(shape_.dtype);
}

int64_t Workload::code_bytes() const {
  return int64_t{shape_.num_sequences} * shape_.num_kv_heads * shape_.capacity * (shape_.hash_bits / 8 + 4);
}

}  // namespace hashevict::bench
