// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/batch.hpp"
#include "cpu/step.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Sets the head's centres to the means over the prompt's keys and, if it has any, its queries (algorithm.md,
/// *Variants*).
void set_centers(const HeadTokens& prompt, const Scratch& scratch);

/// Runs the steps of all tokens on codes alone, then stores the survivors once. Mode RECENT passes `choice` oldest.
void replay(const HeadTokens& prompt, Choice choice, const Scratch& scratch);

/// Modes WINDOW and RECENT, for a prompt that does not fit: chooses the survivors at once among all tokens seen, none
/// of which has been evicted, and places them in token order.
void select_survivors(const HeadTokens& prompt, const Scratch& scratch);

}  // namespace hashevict::cpu
