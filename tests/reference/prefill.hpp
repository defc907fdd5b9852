// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/head.hpp"

namespace hashevict::reference {

enum class PrefillMode { replay, window, recent };

/// Takes a prompt, or a chunk of one, into a head. Returns a placement for each token: in mode replay that of its step;
/// otherwise the slot that it ends up in (-1 if it was dropped), without a victim.
std::vector<Placement> prefill(Head& head, const std::vector<Token>& tokens, PrefillMode mode, std::int32_t window);

/// The mean of vectors: fp32 sums over blocks of 256, then the sum of the blocks in order.
Vector mean(const std::vector<Vector>& vectors);

}  // namespace hashevict::reference
