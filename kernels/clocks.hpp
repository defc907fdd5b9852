// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The cycles of the kernels' phases, in a build with HASHEVICT_KERNEL_CLOCKS alone.
namespace hashevict::kernels {

/// A phase of the blocks of a kernel file. docs/kernels.md, *On paper*, predicts each.
enum class Phase : int32_t {
  find,        ///< split, head and counters
  stage,       ///< inputs into shared memory, the codes of a prompt's tokens
  encode,      ///< codes of the key and the queries
  scan,        ///< codes, positions, accumulators; the best of a block
  queries,     ///< queries into shared memory
  rows,        ///< keys and values
  partial,     ///< the partial result
  ticket,      ///< until the block knows whether it is the last
  candidates,  ///< the best of all blocks
  merge,       ///< splits and candidates
  results,     ///< results, rows and counters
  weights,     ///< the probes of 32 steps as operands of tensor cores
  bests,       ///< the best slots of the buckets, as far as they take longer than the steps
  steps,       ///< one warp takes 32 steps
  place,       ///< lists are stored, slots of victims found
  count
};

/// Sums over the blocks that ran since the last read, as their first thread saw them.
struct PhaseClock {
  const char* file;  ///< the launcher's, without its ending
  Phase phase;
  uint64_t marks;   ///< how often the phase ended
  uint64_t cycles;  ///< of all of them
};

}  // namespace hashevict::kernels

/// Waits for the device, copies up to `count` clocks that have marks, and sets them to 0.
/// @return the number of clocks; -1 if the device reports an error
extern "C" int32_t hashevict_read_kernel_clocks(hashevict::kernels::PhaseClock* clocks, int32_t count);
