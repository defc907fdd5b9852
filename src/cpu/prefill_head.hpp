// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/query_window.hpp"
#include "core/step.hpp"
#include "cpu/head.hpp"
#include "cpu/rows.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// One row of a prompt as one head takes it in.
struct Prompt {
  Head head;
  const core::Step* step;
  int64_t first_token;  ///< in the batch
  int32_t num_tokens;
  int32_t before;  ///< tokens the sequence had seen

  [[nodiscard]] int32_t total() const { return before + num_tokens; }
};

/// Fixes the head's centres: means over the prompt's keys, and its queries where there are any (algorithm.md,
/// *Variants*).
void set_centers(const Prompt& prompt, const Scratch& scratch);

/// Runs the steps of all tokens on codes alone, then stores the survivors once. `choice` oldest is mode RECENT.
void replay(const Prompt& prompt, Choice choice, const Scratch& scratch);

/// Modes WINDOW and RECENT in one go, for a prompt that does not fit: chooses survivors among everything seen (nothing
/// has been evicted yet) and leaves them in token order.
void select_survivors(const Prompt& prompt, const Scratch& scratch, const SelectScratch& select);

}  // namespace hashevict::cpu
