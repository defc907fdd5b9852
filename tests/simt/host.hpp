// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "kernels/detail/simt.cuh"
#include "simt/executor.hpp"
#include "simt/mma.hpp"

/// Marks a kernel, and functions that kernels call.
#define HASHEVICT_KERNEL(...) inline void
#define HASHEVICT_DEVICE inline
#define HASHEVICT_NOINLINE inline
#define HASHEVICT_GRID_CONSTANT const
#define HASHEVICT_UNROLL
#define HASHEVICT_NO_UNROLL

/// The primitives of kernels/detail/simt.cuh on the host, each with its contract and the executor's checks. A last
/// parameter `place` is for reports only; kernels omit it.
namespace hashevict::simt {

// The thread's coordinates. Blocks are one-dimensional, grids have up to two dimensions.
inline int32_t thread_index() {
  return Executor::current().thread_index();
}
inline int32_t block_threads() {
  return Executor::current().launch().threads;
}
inline int32_t block_x() {
  return Executor::current().block_index() % Executor::current().launch().grid_x;
}
inline int32_t block_y() {
  return Executor::current().block_index() / Executor::current().launch().grid_x;
}
inline int32_t lane() {
  return thread_index() % kWarpSize;
}
inline int32_t warp() {
  return thread_index() / kWarpSize;
}

/// The first call of every thread of a kernel. Before it the previous launch may still be running, so a kernel must not
/// touch global memory. After it the next launch may start.
inline void wait_for_launch_before() {
  Executor::current().wait_for_launch_before();
}

/// Waits for the whole block, and orders its memory accesses.
inline void block_sync(Place place = Place::here()) {
  Executor::current().meet(Meeting::block_sync, kFullMask, 0, 0, place);
}
/// Waits for the lanes of the mask, and orders their memory accesses. The votes and shuffles below order none.
inline void warp_sync(uint32_t mask, Place place = Place::here()) {
  Executor::current().meet(Meeting::warp_sync, mask, 0, 0, place);
}
/// Bit i of the result: the value of lane i.
inline uint32_t ballot(uint32_t mask, bool value, Place place = Place::here()) {
  return static_cast<uint32_t>(Executor::current().meet(Meeting::ballot, mask, value ? 1 : 0, 0, place));
}
inline bool any(uint32_t mask, bool value, Place place = Place::here()) {
  return Executor::current().meet(Meeting::any, mask, value ? 1 : 0, 0, place) != 0;
}
inline bool all(uint32_t mask, bool value, Place place = Place::here()) {
  return Executor::current().meet(Meeting::all, mask, value ? 1 : 0, 0, place) != 0;
}
/// The value of another lane, which must be in the mask.
template <class T>
T shuffle(uint32_t mask, T value, int32_t source_lane, Place place = Place::here()) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = Executor::current().meet(Meeting::shuffle, mask, bits, source_lane, place);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <class T>
T shuffle_xor(uint32_t mask, T value, int32_t lane_mask, Place place = Place::here()) {
  return shuffle(mask, value, lane() ^ lane_mask, place);
}
/// The value of the lane `delta` above; without such a lane, the lane's own.
template <class T>
T shuffle_down(uint32_t mask, T value, int32_t delta, Place place = Place::here()) {
  return shuffle(mask, value, lane() + delta < kWarpSize ? lane() + delta : lane(), place);
}
/// The warp's number, which a compiler knows to be the same in all lanes. The whole warp calls it.
inline int32_t uniform_warp(Place place = Place::here()) {
  return shuffle(kFullMask, warp(), 0, place);
}
/// The maximum over all 32 lanes; every lane gets it.
inline uint32_t warp_max(uint32_t value, Place place = Place::here()) {
  return static_cast<uint32_t>(Executor::current().meet(Meeting::warp_max, kFullMask, value, 0, place));
}
inline uint32_t warp_sum(uint32_t value, Place place = Place::here()) {
  return static_cast<uint32_t>(Executor::current().meet(Meeting::warp_sum, kFullMask, value, 0, place));
}
/// Static shared memory of a kernel that calls block_max(), as ptxas reports it: a key per warp, the result, and
/// padding.
constexpr int32_t static_shared_bytes(int32_t threads) {
  return threads / kWarpSize * 8 + 32;
}
inline constexpr int32_t kMostStaticSharedBytes = static_shared_bytes(1024);

/// The largest key of the block's kThreads threads; all threads get it. Orders memory like block_sync().
template <int32_t kThreads>
uint64_t block_max(uint64_t key, Place place = Place::here()) {
  if (block_threads() != kThreads) throw std::logic_error{"block_max() is for blocks of another size"};
  Executor::current().use_static_shared(static_shared_bytes(kThreads), place);
  return Executor::current().meet(Meeting::block_max, kFullMask, key, 0, place);
}

/// c += a b on tensor cores. a is 16 by 16 and b 16 by 8, both of 16-bit floats, two per word, the lower index in the
/// low half; c is 16 by 8 in fp32. With row = lane / 4 and pair = lane % 4, a lane has a[row + 8 i][2 pair + 8 j ..] as
/// word i + 2 j, b[2 pair + 8 j ..][row] as word j, and c[row + 8 i][2 pair + j] as number 2 i + j. The whole warp
/// calls it. Products are exact. Sums have fp32's range but lose digits below the 24th of the largest addend (mma.hpp).
template <bool kIsBfloat>
void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place = Place::here()) {
  MmaOperands operands{c, a, b, kIsBfloat};
  Executor::current().meet(Meeting::mma, kFullMask, reinterpret_cast<uintptr_t>(&operands), 0, place);
}
/// Transposes an 8 by 8 matrix of 16-bit elements. A lane has row lane / 4, columns 2 (lane % 4) and the next one. The
/// whole warp calls it.
inline uint32_t transpose(uint32_t pair, Place place = Place::here()) {
  const int32_t row = lane() / 4;
  const int32_t first = lane() % 4 * 2;  // of the rows that hold the lane's two result elements
  const uint32_t low = shuffle(kFullMask, pair, first * 4 + row / 2, place) >> (row % 2 * 16);
  const uint32_t high = shuffle(kFullMask, pair, (first + 1) * 4 + row / 2, place) >> (row % 2 * 16);
  return (low & 0xFFFFU) | high << 16;
}

// Global memory. Two blocks may touch the same bytes in one launch only if both only read, both use atomic accesses, or
// tickets order them: a barrier of one block, then a fence, an atomic access and a fence of one of its threads; then
// the same atomic access between fences of a thread of the other block, and a barrier. Within a block a barrier is
// enough.
template <class T>
T load(const T* address, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof(T), alignof(T), AccessKind::read, place);
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}
/// The number, which a compiler takes for one that changes from use to use.
template <class T>
T varying(T number) {
  return number;
}
/// The address, which lies in global memory. For functions that are no part of their callers, where a compiler would
/// not know.
template <class T>
T* in_global_memory(T* address) {
  return address;
}
/// A load of memory that neither this launch nor the one before it writes, since launches overlap. For projections
/// and the weights of importances alone.
template <class T>
T load_constant(const T* address, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof(T), alignof(T), AccessKind::constant, place);
  T value;
  std::memcpy(&value, address, sizeof value);
  return value;
}
template <class T>
void store(T* address, T value, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof(T), alignof(T), AccessKind::write, place);
  std::memcpy(static_cast<void*>(address), &value, sizeof value);
}
/// 16 bytes at once, aligned to 16.
inline Bytes16 load16(const void* address, Place place = Place::here()) {
  return load(static_cast<const Bytes16*>(address), place);
}
/// For memory that the block reads once: the caches of a multiprocessor do not keep it.
inline Bytes16 load16_once(const void* address, Place place = Place::here()) {
  return load16(address, place);
}
inline void store16(void* address, Bytes16 value, Place place = Place::here()) {
  store(static_cast<Bytes16*>(address), value, place);
}
/// Waits for all copies that this thread has started. Every thread that has started one calls it before it ends.
inline void wait_for_copies() {
  Executor::current().wait_for_copies();
}
/// Makes a group of the copies that this thread has started since the last group; there may be none.
inline void commit_copies() {
  Executor::current().commit_copies();
}
/// Waits for the groups of copies of this thread, but for the kNewest last ones.
template <int32_t kNewest>
void wait_for_older_copies() {
  Executor::current().wait_for_older_copies(kNewest);
}
/// Accesses to memory that several blocks use. They bypass the caches of a multiprocessor and order nothing.
template <class T>
T load_relaxed(const T* address, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof(T), alignof(T), AccessKind::read, place);
  return *address;
}
template <class T>
void store_relaxed(T* address, T value, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof(T), alignof(T), AccessKind::write, place);
  *address = value;
}
/// 16 bytes at once, aligned to 16; each word by itself is relaxed.
inline Bytes16 load16_relaxed(const void* address, Place place = Place::here()) {
  return load_relaxed(static_cast<const Bytes16*>(address), place);
}
inline void store16_relaxed(void* address, Bytes16 value, Place place = Place::here()) {
  store_relaxed(static_cast<Bytes16*>(address), value, place);
}
/// Counts 0, 1, .. `last`, 0, .. and returns the previous value. The thread that gets `last` is the last of its round.
inline uint32_t atomic_increment(uint32_t* address, uint32_t last, Place place = Place::here()) {
  Executor::current().access_global(address, sizeof *address, sizeof *address, AccessKind::atomic, place);
  return std::exchange(*address, *address >= last ? 0U : *address + 1);
}
/// Orders this thread's accesses before the fence before those after it, as other blocks see them.
inline void thread_fence() {
  Executor::current().fence();
}

// Arithmetic that rounds once, as written, even if the compiler may fuse.
inline float fma(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float add(float a, float b) {
  return a + b;
}
inline float subtract(float a, float b) {
  return a - b;
}
inline float divide(float a, float b) {
  return a / b;
}
inline float multiply(float a, float b) {
  return a * b;
}
/// If one argument is NaN, the other one.
inline float maximum(float a, float b) {
  return std::fmax(a, b);
}
/// 2^x with a relative error of 2^-22; exactly 1 at 0. Results below the smallest normal number are 0.
inline float exp2(float x) {
  const float result = std::exp2(x);
  return result < 0x1p-126F ? 0.0F : result;
}
/// Both have an error of at most 2 units in the last place.
inline float log2(float x) {
  return std::log2(x);
}
inline float tanh(float x) {
  return std::tanh(x);
}
inline int32_t popcount(uint32_t bits) {
  return std::popcount(bits);
}
inline float float_from_bits(uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline uint32_t bits_of_float(float value) {
  return std::bit_cast<uint32_t>(value);
}
/// Rounded to nearest even. A NaN becomes a NaN.
inline uint16_t float_to_half(float value) {
  const uint32_t bits = bits_of_float(value);
  const uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) return 0x7FFF;
  const uint32_t sign = bits >> 16 & 0x8000U;
  if (magnitude < 0x38800000U) {  // subnormal: adding 1/2 rounds to its last place
    return static_cast<uint16_t>(sign | (bits_of_float(float_from_bits(magnitude) + 0.5F) - 0x3F000000U));
  }
  const uint32_t rebiased = magnitude - (112U << 23);
  const uint32_t rounded = (rebiased + 0x0FFFU + (rebiased >> 13 & 1U)) >> 13;
  return static_cast<uint16_t>(sign | (rounded < 0x7C00U ? rounded : 0x7C00U));
}
/// Two of them in a word. A NaN becomes the NaN with all bits set but the sign.
inline uint32_t floats_to_halves(float low, float high) {
  const auto half = [](float value) -> uint32_t { return std::isnan(value) ? 0x7FFFU : float_to_half(value); };
  return half(low) | half(high) << 16;
}
/// Exact.
inline float half_to_float(uint16_t bits) {
  const uint32_t magnitude = bits & 0x7FFFU;
  const uint32_t sign = (bits & 0x8000U) << 16;
  if (magnitude < 0x0400U) {
    return float_from_bits(sign | bits_of_float(static_cast<float>(magnitude) * 0x1p-24F));
  }
  const uint32_t rebias = magnitude < 0x7C00U ? 112U << 23 : 224U << 23;
  return float_from_bits(sign | ((magnitude << 13) + rebias));
}

/// An array in the block's shared memory. Every access is checked: its range, whether the element was written, and
/// whether a barrier separates it from other threads' accesses.
template <class T>
class SharedArray {
 public:
  explicit SharedArray(SharedRegion& region) : region_{&region} {}

  T load(int32_t i, Place place = Place::here()) const {
    Executor::current().access_shared(*region_, i, 1, AccessKind::read, place);
    T value;
    std::memcpy(&value, at(i), sizeof value);
    return value;
  }
  void store(int32_t i, T value, Place place = Place::here()) const {
    Executor::current().access_shared(*region_, i, 1, AccessKind::write, place);
    std::memcpy(at(i), &value, sizeof value);
  }
  /// kCount neighbours at once. `i` is a multiple of kCount, or of the elements in 16 bytes.
  template <int32_t kCount>
  void load_many(int32_t i, T (&values)[kCount], Place place = Place::here()) const {
    Executor::current().access_shared(*region_, i, kCount, AccessKind::read, place);
    std::memcpy(values, at(i), sizeof values);
  }
  template <int32_t kCount>
  void store_many(int32_t i, const T (&values)[kCount], Place place = Place::here()) const {
    Executor::current().access_shared(*region_, i, kCount, AccessKind::write, place);
    std::memcpy(at(i), &values, sizeof values);
  }

  /// Starts to copy 16 bytes of global memory, aligned to 16, to the elements from `i` on. They hold anything until
  /// this thread has called wait_for_copies(), and a barrier passes them to the block.
  void start_copy(int32_t i, const void* from, Place place = Place::here()) const {
    Executor::current().start_copy(from, *region_, i, place);
  }
  /// The same if `reads`; else 16 bytes of zeros come, and nothing is read.
  void start_copy_or_zeros(int32_t i, const void* from, bool reads, Place place = Place::here()) const {
    Executor::current().start_copy(reads ? from : nullptr, *region_, i, place);
  }
  [[nodiscard]] SharedRegion& region() const { return *region_; }

 private:
  [[nodiscard]] unsigned char* at(int32_t i) const {
    return region_->bytes.data() + static_cast<std::size_t>(i) * sizeof(T);
  }
  SharedRegion* region_;
};

/// Carves arrays out of the block's dynamic shared memory; every thread takes the same ones in the same order.
class SharedMemory {
 public:
  template <class T>
  SharedArray<T> take(int32_t count, Place place = Place::here()) {
    return SharedArray<T>{Executor::current().take_shared(taken_++, static_cast<std::size_t>(count), sizeof(T), place)};
  }

 private:
  std::size_t taken_ = 0;
};

}  // namespace hashevict::simt
