// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "kernels/detail/launch.cuh"
#include "kernels/detail/simt.cuh"
#include "simt/executor.hpp"

namespace hashevict::simt {

/// The orders in which launchers run kernels. Every launch gets the next seed. Every other launch has several live
/// blocks, so that tests see both kinds of interleaving.
struct Schedule {
  std::atomic<uint64_t> next_seed{1};
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
       .chained = true},
      kernel, params);
  return nullptr;
}

}  // namespace hashevict::simt
