// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "kernels/detail/launch.cuh"
#include "simt/executor.hpp"

namespace hashevict::simt {

/// The orders that launchers run kernels in. Every launch gets the next seed; every other one has several blocks alive
/// together, so that both kinds of interleaving are seen.
struct Schedule {
  std::atomic<uint64_t> next_seed{1};
  static Schedule& instance() {
    static Schedule schedule;
    return schedule;
  }
};

/// Runs a launch on the executor, and waits. @throws Report for anything that a device would not define
template <class Params>
const char* launch(void (*kernel)(Params), const Extents& extents, const Params& params, void* /*stream*/) {
  if (extents.grid_x == 0 || extents.grid_y == 0) return nullptr;
  const uint64_t seed = Schedule::instance().next_seed++;
  run({.grid_x = extents.grid_x,
       .grid_y = extents.grid_y,
       .threads = extents.threads,
       .shared_bytes = extents.shared_bytes,
       .seed = seed,
       .blocks_at_once = seed % 2 == 0 ? 1 : 3,
       .chained = true},
      kernel, params);
  return nullptr;
}

}  // namespace hashevict::simt
