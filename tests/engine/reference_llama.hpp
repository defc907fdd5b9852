// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "random_model.hpp"

namespace hashevict::engine {

/// Computes logits `[tokens, vocab_size]` of a Llama with full attention, by plain loops in double over a checkpoint's
/// weights. Shares only the widening of tensors with the engine.
std::vector<double> reference_logits(const ModelConfig& config, const RandomCheckpoint& checkpoint,
                                     const std::vector<std::int32_t>& tokens);

}  // namespace hashevict::engine
