// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>

#include "replay.hpp"
#include "unified_memory.hpp"

namespace hashevict::eval {

/// The arguments of a replay's steps where its backend reaches them, one layer after the other: on the CPU the memory
/// of trace and result itself, otherwise copies.
class ReplayTensors {
 public:
  /// @param memory outlives this object
  ReplayTensors(const Trace& trace, UnifiedMemory& memory);

  /// Turns to a layer. `result` has its size, and outlives the steps.
  void enter(const TraceLayer& layer, ReplayLayer& result);

  /// Tokens `begin .. begin + count - 1` as one row of a batch, with the result's rows for them. The steps made before
  /// must have been given to the backend; waits for them.
  Step step(int64_t begin, int64_t count);

  /// Waits for the steps, and brings what they wrote to the result that enter() named.
  void fetch();

 private:
  /// A dense tensor of all tokens, and the host's memory for it: its own on the CPU.
  struct Part {
    Tensor tensor;
    uint64_t bytes;
    void* host = nullptr;
  };

  Part make_part(const Tensor& shape);
  void set_host(Part& part, void* host) const;
  void upload(Part& part, const Tensor& data) const;

  UnifiedMemory& memory_;
  int32_t* cu_seqlens_;  ///< of the one row that every step has
  Part q_, k_, v_, out_, slots_, victims_;
};

}  // namespace hashevict::eval
