// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/settings.hpp"
#include "kernels/launch.hpp"

namespace hashevict::cuda {

/// The workspace memory, cut into parts. Attention and prefill never run at the same time, so their parts overlap.
class Workspace {
 public:
  Workspace(const core::Settings& settings, void* memory);

  /// For attention over a layer of `capacity` slots; as many items as there are sequences.
  [[nodiscard]] kernels::Partials partials(int32_t capacity) const;
  /// Adds the workspace of a prefill to its parameters.
  void lend(kernels::PrefillParams& params) const;

  static uint64_t bytes(const core::Settings& settings);

 private:
  /// Offsets in bytes.
  struct Layout {
    uint64_t states, keys, slots, logits;
    uint64_t key_codes, query_codes, scores;
    uint64_t total;
  };
  static Layout lay_out(const core::Settings& settings);

  Layout layout_;
  void* memory_;
};

/// Splits of a full layer.
constexpr int32_t num_splits(int32_t capacity) {
  return (capacity + kernels::kSplitSlots - 1) / kernels::kSplitSlots;
}

}  // namespace hashevict::cuda
