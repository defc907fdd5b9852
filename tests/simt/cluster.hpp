// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "simt/host.hpp"

/// The primitives of kernels/detail/cluster.cuh on the host, each with its contract and the executor's checks.
namespace hashevict::simt {

/// Whether kernels are compiled for devices that have clusters.
inline constexpr bool kHasClusters = true;

/// The number of the block in its cluster. The blocks of a cluster are neighbours in the grid.
inline int32_t cluster_rank() {
  return block_x() % Executor::current().launch().cluster;
}
inline int32_t cluster_size() {
  return Executor::current().launch().cluster;
}

/// The barrier of a cluster, in two halves: what any thread of the cluster did before it arrived is visible to every
/// thread that has waited. Each thread arrives, then waits, in turn. Threads that have ended count as arrived.
inline void cluster_arrive() {
  Executor::current().arrive_at_cluster();
}
inline void cluster_wait(Place place = Place::here()) {
  Executor::current().wait_for_cluster(place);
}

/// mbarriers in the block's shared memory. A phase completes when all arrivals have come and all expected bytes have
/// landed. Phase n has parity n % 2.
class Mbarriers {
 public:
  /// Shared memory that `count` of them take.
  static constexpr int32_t bytes(int32_t count) { return shared_bytes<uint64_t>(count); }
  Mbarriers(SharedMemory& memory, int32_t count, Place place = Place::here())
      : words_{memory.take<uint64_t>(count, place)} {}

  /// One thread calls it. A barrier of the block comes before the first use.
  void init(int32_t i, int32_t arrivals, Place place = Place::here()) const {
    Executor::current().init_barrier(words_.region(), i, static_cast<uint32_t>(arrivals), place);
  }
  /// What the thread did before is done for those who wait for the phase, as far as bulk copies are concerned.
  void arrive(int32_t i, Place place = Place::here()) const {
    Executor::current().arrive(words_.region(), i, 0, place);
  }
  /// Makes the phase wait for `bytes` of copies, then arrives.
  void arrive_and_expect(int32_t i, int32_t bytes, Place place = Place::here()) const {
    Executor::current().arrive(words_.region(), i, bytes, place);
  }
  /// The same at the mbarrier of block `rank` of the cluster, which is known to be initialised. What came before the
  /// thread's last thread_fence() is done for those who wait_for_cluster() for the phase, and nothing else.
  void arrive_at(int32_t rank, int32_t i, int32_t bytes, Place place = Place::here()) const {
    Executor::current().arrive_at(words_.region(), rank, i, bytes, place);
  }
  /// Waits until the phase of this parity has completed; it is the current phase or the one before.
  void wait(int32_t i, uint32_t parity, Place place = Place::here()) const {
    Executor::current().wait_for_phase(words_.region(), i, parity, false, place);
  }
  /// The same for an mbarrier where blocks of the cluster arrive or push.
  void wait_for_cluster(int32_t i, uint32_t parity, Place place = Place::here()) const {
    Executor::current().wait_for_phase(words_.region(), i, parity, true, place);
  }
  [[nodiscard]] SharedRegion& region() const { return words_.region(); }

 private:
  SharedArray<uint64_t> words_;
};

/// Starts to copy `bytes` of global memory to the elements of a shared array from `first` on; both ends and the size
/// are multiples of 16 bytes. The bytes count for mbarrier `barrier` and are there once its phase has completed.
/// Threads write no element that such copies fill. A new copy to the same elements starts only after every reader has
/// arrived at an mbarrier that its thread has waited for, or behind a barrier of the block.
template <class T>
void start_bulk_copy(const SharedArray<T>& array, int32_t first, const void* from, int32_t bytes,
                     const Mbarriers& barriers, int32_t barrier, Place place = Place::here()) {
  Executor::current().start_bulk_copy(array.region(), first, from, bytes, barriers.region(), barrier, place);
}

/// Starts to write 16 bytes to the elements from `first` on, a multiple of their number, of the same array in the
/// shared memory of block `rank` of the cluster. The bytes count for that block's mbarrier `barrier`, which is known to
/// be initialised, and are there for those who have waited for its phase. The block must run, as the first barrier of
/// the cluster says, and must not end before; the calling one may. Nothing but pushes writes the elements. A barrier of
/// the cluster lies between reading them and the next push to them.
template <class T, int32_t kCount>
void push(const SharedArray<T>& array, int32_t rank, int32_t first, const T (&values)[kCount],
          const Mbarriers& barriers, int32_t barrier, Place place = Place::here()) {
  static_assert(sizeof values == sizeof(Bytes16) && sizeof(T) == 4);
  Executor::current().push(array.region(), rank, first, &values, barriers.region(), barrier, place);
}

/// Orders what this thread has written to global memory before bulk copies that start behind the next barrier.
inline void fence_bulk_copies() {}

}  // namespace hashevict::simt
