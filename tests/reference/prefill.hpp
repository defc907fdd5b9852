// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/head.hpp"

namespace hashevict::reference {

enum class PrefillMode { replay, window, recent };

/// Takes a prompt, or a chunk of one, into a head. Returns, for each token: in mode replay its step's placement, else
/// the slot that it lies in at the end (-1 if it was dropped), with no victim.
std::vector<Placement> prefill(Head& head, const std::vector<Token>& tokens, PrefillMode mode, std::int32_t window);

/// The mean of vectors: summed in fp32 in blocks of 256, the sums of the blocks then added in order.
Vector mean(const std::vector<Vector>& vectors);

}  // namespace hashevict::reference
