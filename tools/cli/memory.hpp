// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/config.hpp"

namespace hashevict::cli {

/// Refuses a need for more memory than this process may use, before anything is allocated: the kernel grants such
/// memory, and kills the process that uses it.
/// @param options the options that determine the need, for the message
/// @param needed bytes in all
/// @param present bytes that this process may use; default: those of the host
/// @throws Error out_of_memory, with both
void require_memory(std::string_view options, uint64_t needed, uint64_t present);
void require_memory(std::string_view options, uint64_t needed);

/// Estimates from below the bytes of a model's weights and of a decoder's buffers for `batch_tokens` at once.
uint64_t decoder_bytes(const engine::ModelConfig& model, int64_t num_parameters, int64_t batch_tokens);

/// Returns the bytes of queries, keys and values of all layers of a trace while it is recorded.
uint64_t trace_bytes(const engine::ModelConfig& model, int64_t num_tokens);

}  // namespace hashevict::cli
