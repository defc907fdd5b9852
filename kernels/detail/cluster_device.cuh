// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/simt.cuh"

/// The primitives as instructions; tests/simt/cluster.hpp says what each promises.
namespace hashevict::simt {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
inline constexpr bool kHasClusters = false;
#else
inline constexpr bool kHasClusters = true;
#endif

HASHEVICT_DEVICE int32_t cluster_rank() {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return static_cast<int32_t>(rank);
}
HASHEVICT_DEVICE int32_t cluster_size() {
  uint32_t size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return static_cast<int32_t>(size);
}

// A block's threads come here together. The lanes of a warp meet first, since the aligned form is one instruction for
// all of them, in place of a loop over those that came apart.
HASHEVICT_DEVICE void cluster_arrive() {
  __syncwarp();
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
HASHEVICT_DEVICE void cluster_wait() {
  __syncwarp();
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

HASHEVICT_DEVICE uint32_t shared_address(const void* data) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(data));
}
HASHEVICT_DEVICE uint32_t remote_address(uint32_t own, int32_t rank) {
  uint32_t address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(own), "r"(rank));
  return address;
}
class Mbarriers {
 public:
  static HASHEVICT_HOST_DEVICE constexpr int32_t bytes(int32_t count) { return shared_bytes<uint64_t>(count); }
  HASHEVICT_DEVICE Mbarriers(SharedMemory& memory, int32_t count) : words_{memory.take<uint64_t>(count)} {}

  // The fence makes the mbarrier visible to copies, too.
  HASHEVICT_DEVICE void init(int32_t i, int32_t arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address(i)), "r"(arrivals) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  HASHEVICT_DEVICE void arrive(int32_t i) const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address(i)) : "memory");
  }
  HASHEVICT_DEVICE void arrive_and_expect(int32_t i, int32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address(i)), "r"(bytes) : "memory");
  }
  // Relaxed: a release for the cluster would wait for all of the thread's writes to global memory, whether somebody
  // wants them or not.
  HASHEVICT_DEVICE void arrive_at(int32_t rank, int32_t i, int32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.relaxed.cluster.shared::cluster.b64 _, [%0], %1;" ::"r"(
                     remote_address(address(i), rank)),
                 "r"(bytes)
                 : "memory");
  }
  HASHEVICT_DEVICE void wait(int32_t i, uint32_t parity) const {
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{\n"
          ".reg .pred complete;\n"
          "mbarrier.try_wait.parity.shared::cta.b64 complete, [%1], %2;\n"
          "selp.u32 %0, 1, 0, complete;\n"
          "}\n"
          : "=r"(done)
          : "r"(address(i)), "r"(parity)
          : "memory");
    }
  }
  HASHEVICT_DEVICE void wait_for_cluster(int32_t i, uint32_t parity) const {
    uint32_t done = 0;
    while (done == 0) {
      asm volatile(
          "{\n"
          ".reg .pred complete;\n"
          "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 complete, [%1], %2;\n"
          "selp.u32 %0, 1, 0, complete;\n"
          "}\n"
          : "=r"(done)
          : "r"(address(i)), "r"(parity)
          : "memory");
    }
  }
  [[nodiscard]] HASHEVICT_DEVICE uint32_t address(int32_t i) const { return shared_address(words_.data() + i); }

 private:
  SharedArray<uint64_t> words_;
};

// To a destination of the cluster: this form takes the block's own addresses, and every PTX version since 8.0 knows it.
template <class T>
HASHEVICT_DEVICE void start_bulk_copy(const SharedArray<T>& array, int32_t first, const void* from, int32_t bytes,
                                      const Mbarriers& barriers, int32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(array.data() + first)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(barriers.address(barrier))
               : "memory");
}

template <class T, int32_t kCount>
HASHEVICT_DEVICE void push(const SharedArray<T>& array, int32_t rank, int32_t first, const T (&values)[kCount],
                           const Mbarriers& barriers, int32_t barrier) {
  static_assert(sizeof values == sizeof(Bytes16) && sizeof(T) == 4);
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
                   remote_address(shared_address(array.data() + first), rank)),
               "r"(cuda::std::bit_cast<uint32_t>(values[0])), "r"(cuda::std::bit_cast<uint32_t>(values[1])),
               "r"(cuda::std::bit_cast<uint32_t>(values[2])), "r"(cuda::std::bit_cast<uint32_t>(values[3])),
               "r"(remote_address(barriers.address(barrier), rank))
               : "memory");
}

HASHEVICT_DEVICE void fence_bulk_copies() {
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

}  // namespace hashevict::simt
