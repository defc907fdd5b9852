// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "cpu/batch.hpp"
#include "cpu/step.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// Sets the head's centres to the means over the prompt's keys and, if it has any, its queries (algorithm.md,
/// *Variants*).
void set_centers(const HeadTokens& prompt, const Scratch& scratch);

/// Runs the steps of all tokens on codes alone: keys and values stay as they are. Mode RECENT passes `choice` oldest.
/// @param taken [count] receives the slot that each token took
void replay(const HeadTokens& prompt, Choice choice, const Scratch& scratch, int32_t* taken);

/// Stores the keys and values that a replay leaves, each once.
void store_survivors(const HeadTokens& prompt, Choice choice, const Scratch& scratch, const int32_t* taken);

/// Modes WINDOW and RECENT, for a prompt that does not fit: chooses the survivors at once among all tokens seen, none
/// of which has been evicted. Keys and values stay as they are.
void select_survivors(const HeadTokens& prompt, const Scratch& scratch);

/// Places the chosen survivors in token order, with their keys and values.
void settle_survivors(const HeadTokens& prompt, const Scratch& scratch);

/// Number of tiles of so many tokens, whose attention is computed by one worker at a time.
int32_t num_prompt_tiles(const core::Layer& layer, int32_t num_tokens);

/// The attention of one tile of a prompt's tokens, before any key of the prompt is stored.
/// @param taken of replay(); read by STREAMED attention
void attend_prompt(const HeadTokens& prompt, int32_t tile, const Scratch& scratch, const int32_t* taken);

}  // namespace hashevict::cpu
