// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/settings.hpp"
#include "kernels/launch.hpp"

namespace hashevict::cuda {

/// The workspace memory, divided into parts. Attention and prefill never run at once, so their parts overlap.
class Workspace {
 public:
  Workspace(const core::Settings& settings, void* memory);

  /// The partial results of attention over a layer, with as many items as sequences.
  [[nodiscard]] kernels::Partials partials() const;
  /// Adds the workspace of a prefill to its parameters.
  void lend(kernels::PrefillParams& params) const;

  static uint64_t bytes(const core::Settings& settings);

 private:
  /// Offsets in bytes.
  struct Layout {
    uint64_t values, maxima, sums, keys, slots, logits;
    uint64_t key_codes, query_codes, importances, scores;
    uint64_t total;
  };
  static Layout lay_out(const core::Settings& settings);

  Layout layout_;
  void* memory_;
};

}  // namespace hashevict::cuda
