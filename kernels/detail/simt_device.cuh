// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_fp16.h>

#include <cub/block/block_reduce.cuh>
#include <cuda/functional>
#include <cuda/std/bit>

/// Marks a kernel. Arguments: threads per block and, where it matters, the blocks that a multiprocessor must have room
/// for.
#define HASHEVICT_KERNEL(...) __global__ void __launch_bounds__(__VA_ARGS__)
/// Marks functions that kernels call.
#define HASHEVICT_DEVICE __device__ __forceinline__
/// Marks functions whose code a kernel has once, however often it calls them. They take numbers, and addresses that
/// they pass through in_global_memory(): a reference would turn what it refers to into local memory.
#define HASHEVICT_NOINLINE __device__ __noinline__ inline
/// Marks a kernel parameter that such functions take by reference, so that it is not copied.
#define HASHEVICT_GRID_CONSTANT const __grid_constant__
/// Unrolls a loop of constant extent over an array that must stay in registers.
#define HASHEVICT_UNROLL _Pragma("unroll")
/// Keeps a loop rolled.
#define HASHEVICT_NO_UNROLL _Pragma("unroll 1")

/// The primitives as intrinsics; tests/simt/host.hpp says what each promises.
namespace hashevict::simt {

HASHEVICT_DEVICE int32_t thread_index() {
  return static_cast<int32_t>(threadIdx.x);
}
HASHEVICT_DEVICE int32_t block_threads() {
  return static_cast<int32_t>(blockDim.x);
}
HASHEVICT_DEVICE int32_t block_x() {
  return static_cast<int32_t>(blockIdx.x);
}
HASHEVICT_DEVICE int32_t block_y() {
  return static_cast<int32_t>(blockIdx.y);
}
HASHEVICT_DEVICE int32_t lane() {
  return static_cast<int32_t>(threadIdx.x % uint32_t{kWarpSize});
}
HASHEVICT_DEVICE int32_t warp() {
  return static_cast<int32_t>(threadIdx.x / uint32_t{kWarpSize});
}

/// Programmatic dependent launch, on devices from sm_90 on. Launches on older devices never overlap.
HASHEVICT_DEVICE void wait_for_launch_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Keeps a loop that branches on the number from being written once for each outcome.
template <class T>
HASHEVICT_DEVICE T varying(T number) {
  auto bits = static_cast<int32_t>(number);
  asm volatile("" : "+r"(bits));
  return static_cast<T>(bits);
}

HASHEVICT_DEVICE void block_sync() {
  __syncthreads();
}
HASHEVICT_DEVICE void warp_sync(uint32_t mask) {
  __syncwarp(mask);
}
HASHEVICT_DEVICE uint32_t ballot(uint32_t mask, bool value) {
  return __ballot_sync(mask, value);
}
HASHEVICT_DEVICE bool any(uint32_t mask, bool value) {
  return __any_sync(mask, value) != 0;
}
HASHEVICT_DEVICE bool all(uint32_t mask, bool value) {
  return __all_sync(mask, value) != 0;
}
template <class T>
HASHEVICT_DEVICE T shuffle(uint32_t mask, T value, int32_t source_lane) {
  return __shfl_sync(mask, value, source_lane);
}
template <class T>
HASHEVICT_DEVICE T shuffle_xor(uint32_t mask, T value, int32_t lane_mask) {
  return __shfl_xor_sync(mask, value, lane_mask);
}
template <class T>
HASHEVICT_DEVICE T shuffle_down(uint32_t mask, T value, int32_t delta) {
  return __shfl_down_sync(mask, value, static_cast<unsigned>(delta));
}
// As far as the compiler knows, what depends on warp() may part the lanes of a warp; where they wait or shuffle behind
// such a branch, it adds code for lanes that came apart: a fifth of attend_bulk().
HASHEVICT_DEVICE int32_t uniform_warp() {
  return shuffle(kFullMask, warp(), 0);
}
HASHEVICT_DEVICE uint32_t warp_max(uint32_t value) {
  return __reduce_max_sync(kFullMask, value);
}
HASHEVICT_DEVICE uint32_t warp_sum(uint32_t value) {
  return __reduce_add_sync(kFullMask, value);
}

// Two barriers lie between reading `result` and its next write, and between the reduction's own uses of its storage,
// so the storage may be used again at once.
template <int32_t kThreads>
HASHEVICT_DEVICE uint64_t block_max(uint64_t key) {
  using Reduce = cub::BlockReduce<uint64_t, kThreads>;
  __shared__ typename Reduce::TempStorage storage;
  __shared__ uint64_t result;
  const uint64_t largest = Reduce{storage}.Reduce(key, cuda::maximum<uint64_t>{});
  if (thread_index() == 0) result = largest;
  __syncthreads();
  return result;
}

// load() stays an ordinary load. No pointer is __restrict__ and all come from parameters, so the compiler cannot prove
// that the memory is constant. tests/cuda/check_loads.sh checks it.
template <class T>
HASHEVICT_DEVICE T load(const T* address) {
  return *address;
}
template <class T>
HASHEVICT_DEVICE T* in_global_memory(T* address) {
  size_t global = __cvta_generic_to_global(address);
  asm("" : "+l"(global));  // else the compiler folds the two conversions, and what it learns by them is lost
  return static_cast<T*>(__cvta_global_to_generic(global));
}
// Loads through the read-only path (ld.global.nc). It may keep lines from before the launch, and no wait for the launch
// before orders it. For projections and the weights of importances alone, hence floats only.
HASHEVICT_DEVICE float load_constant(const float* address) {
  return __ldg(address);
}
template <class T>
HASHEVICT_DEVICE void store(T* address, T value) {
  *address = value;
}
HASHEVICT_DEVICE Bytes16 load16(const void* address) {
  return *static_cast<const Bytes16*>(address);
}
// Volatile, so that it stays behind the barriers before it and in front of those after it.
HASHEVICT_DEVICE Bytes16 load16_once(const void* address) {
  Bytes16 value;
  asm volatile("ld.global.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.words[0]), "=r"(value.words[1]), "=r"(value.words[2]), "=r"(value.words[3])
               : "l"(__cvta_generic_to_global(address)));
  return value;
}
HASHEVICT_DEVICE void store16(void* address, Bytes16 value) {
  *static_cast<Bytes16*>(address) = value;
}
// cuda::atomic_ref would use generic addresses.
template <class T>
HASHEVICT_DEVICE T load_relaxed(const T* address) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const size_t global = __cvta_generic_to_global(address);
  if constexpr (sizeof(T) == 8) {
    uint64_t bits;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(bits) : "l"(global) : "memory");
    return cuda::std::bit_cast<T>(bits);
  } else {
    uint32_t bits;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(global) : "memory");
    return cuda::std::bit_cast<T>(bits);
  }
}
template <class T>
HASHEVICT_DEVICE void store_relaxed(T* address, T value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8);
  const size_t global = __cvta_generic_to_global(address);
  if constexpr (sizeof(T) == 8) {
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(global), "l"(cuda::std::bit_cast<uint64_t>(value))
                 : "memory");
  } else {
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(global), "r"(cuda::std::bit_cast<uint32_t>(value))
                 : "memory");
  }
}
HASHEVICT_DEVICE Bytes16 load16_relaxed(const void* address) {
  Bytes16 value;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.words[0]), "=r"(value.words[1]), "=r"(value.words[2]), "=r"(value.words[3])
               : "l"(__cvta_generic_to_global(address))
               : "memory");
  return value;
}
HASHEVICT_DEVICE void store16_relaxed(void* address, Bytes16 value) {
  asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)),
               "r"(value.words[0]), "r"(value.words[1]), "r"(value.words[2]), "r"(value.words[3])
               : "memory");
}
HASHEVICT_DEVICE uint32_t atomic_increment(uint32_t* address, uint32_t last) {
  return atomicInc(address, last);
}
HASHEVICT_DEVICE void thread_fence() {
  __threadfence();
}

HASHEVICT_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
HASHEVICT_DEVICE void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int32_t kNewest>
HASHEVICT_DEVICE void wait_for_older_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kNewest) : "memory");
}

template <bool kIsBfloat>
HASHEVICT_DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (kIsBfloat) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}
HASHEVICT_DEVICE uint32_t transpose(uint32_t pair) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
  return result;
}

HASHEVICT_DEVICE float fma(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
HASHEVICT_DEVICE float add(float a, float b) {
  return __fadd_rn(a, b);
}
HASHEVICT_DEVICE float subtract(float a, float b) {
  return __fsub_rn(a, b);
}
HASHEVICT_DEVICE float divide(float a, float b) {
  return __fdiv_rn(a, b);
}
HASHEVICT_DEVICE float multiply(float a, float b) {
  return __fmul_rn(a, b);
}
HASHEVICT_DEVICE float maximum(float a, float b) {
  return fmaxf(a, b);
}
HASHEVICT_DEVICE float exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
HASHEVICT_DEVICE float log2(float x) {
  return ::log2f(x);
}
HASHEVICT_DEVICE float tanh(float x) {
  return ::tanhf(x);
}
HASHEVICT_DEVICE int32_t popcount(uint32_t bits) {
  return __popc(bits);
}
HASHEVICT_DEVICE uint16_t float_to_half(float value) {
  return __half_as_ushort(__float2half_rn(value));
}
HASHEVICT_DEVICE uint32_t floats_to_halves(float low, float high) {
  uint32_t result;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
HASHEVICT_DEVICE float half_to_float(uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
HASHEVICT_DEVICE float float_from_bits(uint32_t bits) {
  return __uint_as_float(bits);
}
HASHEVICT_DEVICE uint32_t bits_of_float(float value) {
  return __float_as_uint(value);
}

/// An array in the block's shared memory.
template <class T>
class SharedArray {
 public:
  HASHEVICT_DEVICE explicit SharedArray(T* data) : data_{data} {}
  HASHEVICT_DEVICE T load(int32_t i) const { return data_[i]; }
  HASHEVICT_DEVICE void store(int32_t i, T value) const { data_[i] = value; }
  template <int32_t kCount>
  HASHEVICT_DEVICE void load_many(int32_t i, T (&values)[kCount]) const {
    struct alignas(kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16) Group {
      T values[kCount];
    };
    const Group group = *reinterpret_cast<const Group*>(data_ + i);
#pragma unroll
    for (int32_t k = 0; k < kCount; ++k) values[k] = group.values[k];
  }
  template <int32_t kCount>
  HASHEVICT_DEVICE void store_many(int32_t i, const T (&values)[kCount]) const {
    struct alignas(kCount * sizeof(T) < 16 ? kCount * sizeof(T) : 16) Group {
      T values[kCount];
    };
    Group group;
#pragma unroll
    for (int32_t k = 0; k < kCount; ++k) group.values[k] = values[k];
    *reinterpret_cast<Group*>(data_ + i) = group;
  }
  /// L2 alone keeps the bytes, as for memory that a block reads once.
  HASHEVICT_DEVICE void start_copy(int32_t i, const void* from) const {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(data_ + i));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(__cvta_generic_to_global(from)) : "memory");
  }
  HASHEVICT_DEVICE void start_copy_or_zeros(int32_t i, const void* from, bool reads) const {
    const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(data_ + i));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(__cvta_generic_to_global(from)),
                 "r"(reads ? 16 : 0)
                 : "memory");
  }
  HASHEVICT_DEVICE T* data() const {
    return data_;
  }

 private:
  T* data_;
};

/// Carves arrays out of the block's dynamic shared memory; every thread takes the same ones in the same order.
class SharedMemory {
 public:
  template <class T>
  HASHEVICT_DEVICE SharedArray<T> take(int32_t count) {
    extern __shared__ Bytes16 dynamic_shared_memory[];
    auto* const data = reinterpret_cast<unsigned char*>(dynamic_shared_memory) + used_;
    used_ += shared_bytes<T>(count);
    return SharedArray<T>{reinterpret_cast<T*>(data)};
  }

 private:
  int32_t used_ = 0;
};

}  // namespace hashevict::simt
