// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/layer.hpp"
#include "core/step.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

using core::Head;

/// Stores the key and the value of a token of the batch in a slot.
void store_rows(const Head& head, const core::Step& step, int64_t token, int32_t slot, const Scratch& scratch);

/// Copies the key and the value of one slot to another, of the same head or of a head of another sequence.
void copy_rows(const Head& from, int32_t from_slot, const Head& to, int32_t to_slot);

/// Copies a token to another slot of its head: key, value, code, position, accumulator and importance. The old slot
/// keeps its contents.
void move_token(const Head& head, int32_t from, int32_t to);

/// Adds a key to the running sum of the head's keys, for rules that need it.
/// @param key [head_dim], fp32, as given
void add_key(const Head& head, const float* key);

/// Enters a token in a slot: its position, its code, its initial accumulator and its importance.
void enter_token(const Head& head, int32_t slot, int32_t position, const uint8_t* key_code,
                 const core::Importance& importance);

}  // namespace hashevict::cpu
