// SPDX-License-Identifier: Apache-2.0
#include "workload.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace hashevict::bench {
namespace {

/// Elements behind a pool that its windows may reach.
constexpr int64_t kPoolElements = int64_t{1} << 20;
/// A prime, so that no two rows of a tensor which repeats these random numbers are equal.
constexpr int64_t kRandomElements = 1048573;
constexpr int64_t kMostFillTokens = 8192;

int32_t element_bytes(DType dtype) {
  return dtype == DType::float32 ? 4 : 2;
}

/// Slots of the head that has most.
int32_t most_slots(const Shape& shape) {
  const std::vector<int32_t> capacities = head_capacities(shape);
  return *std::max_element(capacities.begin(), capacities.end());
}

/// Tokens per sequence in one chunk of the filling; a divisor of the largest capacity.
int32_t fill_tokens(const Shape& shape) {
  const int32_t most = most_slots(shape);
  auto tokens = static_cast<int32_t>(std::clamp<int64_t>(kMostFillTokens / shape.num_sequences, 1, most));
  while (most % tokens != 0) --tokens;
  return tokens;
}

Config make_config(const Shape& shape, int64_t prompt_tokens) {
  Config config;
  config.rule = Rule{shape.preset};
  if (shape.policy) config.rule.policy = *shape.policy;
  config.placement.backend = shape.backend;
  config.shape.num_layers = shape.num_layers;
  config.shape.num_sequences = shape.num_sequences;
  config.shape.num_kv_heads = shape.num_kv_heads;
  config.shape.num_qo_heads = shape.num_kv_heads * shape.group_size;
  config.shape.head_dim = shape.head_dim;
  config.shape.capacity = shape.capacity;
  for (int32_t layer = 0; shape.ragged && layer < shape.num_layers; ++layer) {
    const std::vector<int32_t> of_layer = head_capacities(shape);
    config.shape.capacities.insert(config.shape.capacities.end(), of_layer.begin(), of_layer.end());
  }
  config.rule.hash_bits = shape.hash_bits;
  config.shape.dtype = shape.dtype;
  config.placement.layout = shape.layout;
  config.execution.num_threads = shape.num_threads;
  config.execution.max_batch_tokens = std::max(prompt_tokens, int64_t{shape.num_sequences} * fill_tokens(shape));
  return config;
}

/// Normal numbers whose bits are finite in each of the three dtypes, read as halves or, for fp32, as wholes.
std::vector<unsigned char> random_elements(DType dtype, std::mt19937& generator) {
  std::normal_distribution<float> normal;
  std::vector<unsigned char> bytes(static_cast<std::size_t>(kRandomElements * element_bytes(dtype)));
  const auto size = static_cast<std::size_t>(element_bytes(dtype));
  for (std::size_t i = 0; i < bytes.size(); i += size) {
    const float value = normal(generator);
    uint32_t word = 0;
    std::memcpy(&word, &value, sizeof word);
    if (dtype != DType::float32) word >>= 16;
    if (dtype == DType::float16) word &= 0xBFFFU;
    std::memcpy(&bytes[i], &word, size);  // little-endian, as all backends are
  }
  return bytes;
}

}  // namespace

std::vector<int32_t> head_capacities(const Shape& shape) {
  constexpr int32_t kQuarters[8] = {1, 2, 16, 1, 1, 8, 2, 1};  // of the mean; they add up to 8 means
  std::vector<int32_t> capacities(static_cast<std::size_t>(shape.num_kv_heads), shape.capacity);
  for (std::size_t head = 0; shape.ragged && head < capacities.size(); ++head) {
    capacities[head] = static_cast<int32_t>(int64_t{shape.capacity} * kQuarters[head % 8] / 4);
  }
  return capacities;
}

int64_t kv_bytes(const Shape& shape) {
  return int64_t{2} * shape.num_sequences * shape.num_kv_heads * shape.capacity * shape.head_dim *
         element_bytes(shape.dtype);
}

int64_t code_bytes(const Shape& shape) {
  return int64_t{shape.num_sequences} * shape.num_kv_heads * shape.capacity * (shape.hash_bits / 8 + 4);
}

Workload::Workload(const Shape& shape, int64_t prompt_tokens, Place place)
    : shape_{shape},
      place_{std::move(place)},
      cache_{make_config(shape, prompt_tokens)},
      random_{random_elements(shape.dtype, generator_)} {
  if (cache_.config().rule.projection_kind == ProjectionKind::learned) set_projections();
  const int64_t rows = shape.num_sequences;
  const int64_t qo_heads = int64_t{shape.num_kv_heads} * shape.group_size;
  step_.q = random_tensor(rows, qo_heads, kPoolElements);
  step_.k = random_tensor(rows, shape.num_kv_heads, kPoolElements);
  step_.v = random_tensor(rows, shape.num_kv_heads, kPoolElements);
  step_.out = random_tensor(rows, qo_heads);
  step_.importance = importances(rows);
  pool_ = step_;
  if (prompt_tokens > 0) {
    prompt_.q = random_tensor(prompt_tokens, qo_heads);
    prompt_.k = random_tensor(prompt_tokens, shape.num_kv_heads);
    prompt_.v = random_tensor(prompt_tokens, shape.num_kv_heads);
    prompt_.importance = importances(prompt_tokens);
    if (shape.prompt_attends) prompt_.out = random_tensor(prompt_tokens, qo_heads);
    prompt_.batch.cu_seqlens = placed<int32_t>({0, static_cast<int32_t>(prompt_tokens)});
    prompt_.batch.row_to_sequence = placed<int32_t>({0});
  } else {
    fill();
  }
}

void Workload::fill() {
  const int32_t tokens = fill_tokens(shape_);
  const int64_t all = int64_t{shape_.num_sequences} * tokens;
  const std::size_t kept = buffers_.size();
  DecodeArgs pool;
  pool.q = random_tensor(all, int64_t{shape_.num_kv_heads} * shape_.group_size, kPoolElements);
  pool.k = random_tensor(all, shape_.num_kv_heads, kPoolElements);
  pool.v = random_tensor(all, shape_.num_kv_heads, kPoolElements);
  std::vector<int32_t> offsets(static_cast<std::size_t>(shape_.num_sequences) + 1);
  for (std::size_t i = 0; i < offsets.size(); ++i) offsets[i] = static_cast<int32_t>(i) * tokens;
  PrefillArgs chunk;
  chunk.importance = importances(all);
  chunk.batch.cu_seqlens = placed(std::move(offsets));
  for (chunk.layer = 0; chunk.layer < shape_.num_layers; ++chunk.layer) {
    for (int32_t filled = 0; filled < most_slots(shape_); filled += tokens) {
      ++num_steps_;
      chunk.q = window(pool.q);
      chunk.k = window(pool.k);
      chunk.v = window(pool.v);
      cache_.prefill(chunk, Stream{});
    }
  }
  buffers_.resize(kept);
}

void Workload::set_projections() {
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<std::size_t>(shape_.num_kv_heads * shape_.hash_bits * shape_.head_dim));
  for (float& x : rows) x = normal(generator_);
  const Tensor projection(rows.data(), {shape_.num_kv_heads, shape_.hash_bits, shape_.head_dim});
  for (int32_t layer = 0; layer < shape_.num_layers; ++layer) cache_.set_projection(layer, projection);
}

const DecodeArgs& Workload::step() {
  ++num_steps_;
  step_.layer = static_cast<int32_t>(num_steps_ % shape_.num_layers);
  step_.q = window(pool_.q);
  step_.k = window(pool_.k);
  step_.v = window(pool_.v);
  return step_;
}

Tensor Workload::window(const Tensor& pool) const {
  constexpr int64_t kStride = int64_t{8} * 9973;  // elements; keeps rows aligned and visits the whole pool
  Tensor shifted = pool;
  const int64_t offset = num_steps_ * kStride % kPoolElements * element_bytes(shape_.dtype);
  shifted.data = static_cast<unsigned char*>(pool.data) + offset;
  return shifted;
}

Tensor Workload::random_tensor(int64_t tokens, int64_t heads, int64_t extra) {
  const int64_t elements = tokens * heads * shape_.head_dim + extra;
  std::vector<unsigned char> bytes(static_cast<std::size_t>(elements * element_bytes(shape_.dtype)));
  std::size_t from = generator_() % kRandomElements * static_cast<std::size_t>(element_bytes(shape_.dtype));
  for (std::size_t done = 0; done < bytes.size(); from = 0) {
    const std::size_t part = std::min(random_.size() - from, bytes.size() - done);
    std::memcpy(bytes.data() + done, random_.data() + from, part);
    done += part;
  }
  return Tensor(keep(std::move(bytes)), shape_.dtype, {tokens, heads, shape_.head_dim});
}

Tensor Workload::importances(int64_t tokens) {
  if (shape_.policy != Policy::importance) return {};
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(tokens * shape_.num_kv_heads));
  for (float& value : values) value = normal(generator_);
  const Tensor flat = placed(std::move(values));
  return Tensor(static_cast<float*>(flat.data), {tokens, shape_.num_kv_heads});
}

template <class T>
Tensor Workload::placed(std::vector<T> values) {
  std::vector<unsigned char> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return Tensor(static_cast<T*>(keep(std::move(bytes))), {static_cast<int64_t>(values.size())});
}

void* Workload::keep(std::vector<unsigned char> bytes) {
  if (place_) return place_(bytes.data(), bytes.size());
  return buffers_.emplace_back(std::move(bytes)).data();
}

}  // namespace hashevict::bench
