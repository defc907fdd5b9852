// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "random_model.hpp"

namespace hashevict::engine {

/// Logits `[tokens, vocab_size]` of a Llama with full attention, as plain loops in double over a checkpoint's weights.
/// Shares no code with the engine but the tensors' widening.
std::vector<double> reference_logits(const ModelConfig& config, const RandomCheckpoint& checkpoint,
                                     const std::vector<std::int32_t>& tokens);

}  // namespace hashevict::engine
