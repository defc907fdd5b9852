// SPDX-License-Identifier: Apache-2.0
#include "authors_steps.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <random>
#include <vector>

namespace hashevict::bench {
namespace {

constexpr int kThreads = 256;

/// Blocks of kThreads threads for `count` elements.
unsigned blocks_for(std::size_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

__device__ std::size_t element() {
  return std::size_t{blockIdx.x} * kThreads + threadIdx.x;
}

__device__ float widen(uint16_t bits, bool is_bfloat) {
  return is_bfloat ? __bfloat162float(__ushort_as_bfloat16(bits)) : __half2float(__ushort_as_half(bits));
}

/// Block: a head. Thread: a bit.
__global__ void project(const uint16_t* keys, bool is_bfloat, int head_dim, const float* projection, float* products) {
  const int bits = static_cast<int>(blockDim.x);
  const uint16_t* const key = keys + std::size_t{blockIdx.x} * head_dim;
  float sum = 0;
  for (int e = 0; e < head_dim; ++e) sum += projection[e * bits + threadIdx.x] * widen(key[e], is_bfloat);
  products[blockIdx.x * bits + threadIdx.x] = sum;
}

/// Thread: a word of a code.
__global__ void pack(const float* products, std::size_t count, int bits, int words, uint32_t* codes) {
  const std::size_t i = element();
  if (i >= count) return;
  const int first = static_cast<int>(i % words) * 32;
  uint32_t word = 0;
  for (int b = 0; b < 32 && first + b < bits; ++b) {
    word |= static_cast<uint32_t>(products[i / words * bits + first + b] >= 0) << b;
  }
  codes[i] = word;
}

/// Thread: a slot.
__global__ void measure(const uint32_t* codes, const uint32_t* new_codes, std::size_t count, int slots, int words,
                        int* distances) {
  const std::size_t i = element();
  if (i >= count) return;
  int distance = 0;
  for (int w = 0; w < words; ++w) distance += __popc(codes[i * words + w] ^ new_codes[i / slots * words + w]);
  distances[i] = distance;
}

/// Block: a head. The lowest slot of the largest distance.
__global__ void __launch_bounds__(kThreads) find_largest(const int* distances, int slots, int* victims) {
  __shared__ unsigned long long best;
  if (threadIdx.x == 0) best = 0;
  __syncthreads();
  unsigned long long own = 0;
  for (int slot = static_cast<int>(threadIdx.x); slot < slots; slot += kThreads) {
    const auto distance = static_cast<unsigned>(distances[std::size_t{blockIdx.x} * slots + slot]);
    const unsigned long long key = (static_cast<unsigned long long>(distance) << 32) + (0xFFFFFFFFU - slot);
    own = key > own ? key : own;
  }
  atomicMax(&best, own);
  __syncthreads();
  if (threadIdx.x == 0) victims[blockIdx.x] = static_cast<int>(0xFFFFFFFFU - static_cast<unsigned>(best));
}

/// Block: a head. Writes its new row of `width` elements to the victim's slot.
template <class T>
__global__ void scatter(const T* rows, const int* victims, int slots, int width, T* target) {
  T* const row = target + (std::size_t{blockIdx.x} * slots + victims[blockIdx.x]) * width;
  for (int e = static_cast<int>(threadIdx.x); e < width; e += static_cast<int>(blockDim.x)) {
    row[e] = rows[std::size_t{blockIdx.x} * width + e];
  }
}

int words_of(const Shape& shape) {
  return (shape.hash_bits + 31) / 32;
}

}  // namespace

std::size_t AuthorsSteps::slots() const {
  return static_cast<std::size_t>(heads_) * static_cast<std::size_t>(shape_.capacity);
}

AuthorsSteps::AuthorsSteps(const Shape& shape, DeviceBuffers& buffers)
    : shape_{shape}, heads_{shape.num_sequences * shape.num_kv_heads} {
  const auto words = static_cast<std::size_t>(words_of(shape));
  const auto bits = static_cast<std::size_t>(shape.hash_bits);
  const auto dim = static_cast<std::size_t>(shape.head_dim);
  const auto heads = static_cast<std::size_t>(heads_);
  const std::size_t all = static_cast<std::size_t>(shape.num_layers) * slots();
  std::mt19937 generator{54321};
  std::vector<uint32_t> codes(all * words);
  for (uint32_t& code : codes) code = static_cast<uint32_t>(generator());
  std::vector<float> projection(bits * dim);
  std::normal_distribution<float> normal;
  for (float& x : projection) x = normal(generator);
  codes_ = static_cast<uint32_t*>(buffers.place(codes.data(), codes.size() * sizeof(uint32_t)));
  projection_ = static_cast<float*>(buffers.place(projection.data(), projection.size() * sizeof(float)));
  keys_ = static_cast<uint16_t*>(buffers.allocate(all * dim * sizeof(uint16_t)));
  values_ = static_cast<uint16_t*>(buffers.allocate(all * dim * sizeof(uint16_t)));
  products_ = static_cast<float*>(buffers.allocate(heads * bits * sizeof(float)));
  new_codes_ = static_cast<uint32_t*>(buffers.allocate(heads * words * sizeof(uint32_t)));
  distances_ = static_cast<int32_t*>(buffers.allocate(slots() * sizeof(int32_t)));
  victims_ = static_cast<int32_t*>(buffers.allocate(heads * sizeof(int32_t)));
}

void AuthorsSteps::evict(const DecodeArgs& step, cudaStream_t stream) const {
  const int words = words_of(shape_);
  const auto heads = static_cast<unsigned>(heads_);
  const auto bits = static_cast<unsigned>(shape_.hash_bits);
  const std::size_t layer = static_cast<std::size_t>(step.layer) * slots();
  const auto* const keys = static_cast<const uint16_t*>(step.k.data);
  const auto* const values = static_cast<const uint16_t*>(step.v.data);
  uint32_t* const codes = codes_ + layer * static_cast<std::size_t>(words);
  const std::size_t rows = layer * static_cast<std::size_t>(shape_.head_dim);
  const std::size_t new_words = static_cast<std::size_t>(heads_) * static_cast<std::size_t>(words);
  project<<<heads, bits, 0, stream>>>(keys, shape_.dtype == DType::bfloat16, shape_.head_dim, projection_, products_);
  pack<<<blocks_for(new_words), kThreads, 0, stream>>>(products_, new_words, shape_.hash_bits, words, new_codes_);
  measure<<<blocks_for(slots()), kThreads, 0, stream>>>(codes, new_codes_, slots(), shape_.capacity, words, distances_);
  find_largest<<<heads, kThreads, 0, stream>>>(distances_, shape_.capacity, victims_);
  scatter<<<heads, 128, 0, stream>>>(keys, victims_, shape_.capacity, shape_.head_dim, keys_ + rows);
  scatter<<<heads, 128, 0, stream>>>(values, victims_, shape_.capacity, shape_.head_dim, values_ + rows);
  scatter<<<heads, 32, 0, stream>>>(new_codes_, victims_, shape_.capacity, words, codes);
  check(cudaGetLastError());
}

}  // namespace hashevict::bench
