// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <iterator>
#include <map>
#include <mutex>

#include "kernels/detail/launch.cuh"
#include "kernels/detail/simt.cuh"
#include "simt/executor.hpp"
#include "simt/runtime.hpp"

namespace hashevict::simt {

/// The orders in which launchers run kernels. Every launch gets the next seed. Every other launch has several live
/// blocks, so that tests see both kinds of interleaving.
struct Schedule {
  std::atomic<uint64_t> next_seed{1};
  /// Index in kClusters for all launches; with the first, they use no bulk copies either. SIZE_MAX: drawn for each.
  std::atomic<std::size_t> clusters{SIZE_MAX};
  static Schedule& instance() {
    static Schedule schedule;
    return schedule;
  }
};

/// The shared memory that the device grants kernels: all of it only to kernels that were made ready.
class SharedLimits {
 public:
  static constexpr int32_t kWithoutAsking = 48 * 1024;
  static constexpr int32_t kMost = 227 * 1024;  // as on sm_90

  static SharedLimits& instance() {
    static SharedLimits limits;
    return limits;
  }
  template <class Params>
  void set(void (*kernel)(Params), int32_t bytes) {
    const std::lock_guard lock{mutex_};
    limits_[reinterpret_cast<void (*)()>(kernel)] = bytes;
  }
  /// @throws Report for a kernel that was not made ready, since its first launch might be part of a graph
  template <class Params>
  int32_t of(void (*kernel)(Params)) {
    const std::lock_guard lock{mutex_};
    const auto found = limits_.find(reinterpret_cast<void (*)()>(kernel));
    if (found == limits_.end()) throw Report{"launch of a kernel that was not made ready before"};
    return found->second;
  }

 private:
  std::mutex mutex_;
  std::map<void (*)(), int32_t> limits_;
};

/// Plays the device. A kernel's static shared memory is known only when it runs, so assume the most.
template <class Params>
Prepared prepare(void (*kernel)(Params)) {
  SharedLimits::instance().set(kernel, SharedLimits::kMost);
  return {nullptr, SharedLimits::kMost - kMostStaticSharedBytes, true};
}

/// The same for a kernel that runs in clusters, where the device that is played has them.
template <class Params, class Bytes>
Prepared prepare_clusters(void (*kernel)(Params), int32_t /*threads*/, const Bytes& /*bytes*/) {
  Prepared prepared = prepare(kernel);
  if (Devices::instance().have_clusters()) prepared.clusters = {8, INT32_MAX};
  return prepared;
}

/// The same for a kernel that needs bulk copies.
template <class Params>
Prepared prepare_bulk(void (*kernel)(Params), int32_t bytes) {
  Prepared prepared = prepare(kernel);
  prepared.bulk = Devices::instance().have_clusters() && bytes <= prepared.shared_bytes;
  return prepared;
}

/// The clusters that launches may get; the first have none.
inline constexpr Clusters kClusters[] = {{}, {2, 0}, {4, 0}, {8, 0}, {8, INT32_MAX}};

/// Draws the clusters of a launch, so that every suite sees all paths: results do not depend on them.
inline Clusters clusters_of(const Queue& queue) {
  if (queue.clusters.blocks == 0) return {};
  const Schedule& schedule = Schedule::instance();
  const std::size_t chosen = schedule.clusters;
  return kClusters[chosen < std::size(kClusters) ? chosen : Random{schedule.next_seed}.below(std::size(kClusters))];
}

/// Draws whether a launch uses bulk copies.
inline bool has_bulk_copies(const Queue& queue) {
  const Schedule& schedule = Schedule::instance();
  const std::size_t chosen = schedule.clusters;
  if (!queue.bulk || chosen == 0) return false;
  return chosen < std::size(kClusters) || Random{schedule.next_seed}.below(2) > 0;
}

/// Runs a launch on the executor and waits. @throws Report for anything that is undefined on a device
template <class Params>
const char* launch(void (*kernel)(Params), const Extents& extents, const Params& params, const Queue& /*queue*/) {
  if (extents.grid_x == 0 || extents.grid_y == 0) return nullptr;
  const uint64_t seed = Schedule::instance().next_seed++;
  run({.grid_x = extents.grid_x,
       .grid_y = extents.grid_y,
       .threads = extents.threads,
       .shared_bytes = extents.shared_bytes,
       .shared_limit = SharedLimits::instance().of(kernel),
       .seed = seed,
       .blocks_at_once = seed % 2 == 0 ? 1 : 3,
       .cluster = extents.cluster,
       .chained = true},
      kernel, params);
  return nullptr;
}

}  // namespace hashevict::simt
