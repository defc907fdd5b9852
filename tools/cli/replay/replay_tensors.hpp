// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/cache.hpp>

#include "replay.hpp"
#include "unified_memory.hpp"

namespace hashevict::cli {

/// The tensors of a replay's steps in memory that its backend reaches, layer by layer: on the CPU the memory of trace
/// and result, otherwise copies.
class ReplayTensors {
 public:
  /// @param memory outlives this object
  /// @param config of the cache that takes the steps: they bring the importances that its rule takes
  ReplayTensors(const Trace& trace, const Config& config, UnifiedMemory& memory);

  /// Starts a layer. `result` has its size, and outlives the steps.
  void enter(const TraceLayer& layer, ReplayLayer& result);

  /// Returns tokens `begin .. begin + count - 1` as one row of a batch, with the result's rows for them. Waits for the
  /// earlier steps, which the caller must have issued.
  DecodeArgs step(int64_t begin, int64_t count);

  /// Waits for the steps and copies their output to the result that enter() named.
  void fetch();

 private:
  /// A dense tensor of all tokens, and its host memory: the same on the CPU.
  struct Part {
    Tensor tensor;
    uint64_t bytes;
    void* host = nullptr;
  };

  Part make_part(const Tensor& shape);
  void set_host(Part& part, void* host) const;
  void upload(Part& part, const Tensor& data) const;

  UnifiedMemory& memory_;
  int32_t* cu_seqlens_;  ///< offsets of the one row of every step
  Part q_, k_, v_, out_, slots_, victims_;
  bool takes_importance_, takes_slope_;
  Part importance_, importance_slope_;  ///< empty where steps bring none
};

}  // namespace hashevict::cli
