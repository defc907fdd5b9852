// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <hashevict/config.hpp>
#include <string_view>

#include "engine/config.hpp"

namespace hashevict::eval {

/// A cache that holds every token; what the others are measured against.
inline constexpr std::string_view kFull = "full";

/// The bounded caches that the demo compares, all but `full` at every budget.
inline constexpr std::array<std::string_view, 5> kPolicies = {"paper", "superseded", "recall", "window", "random"};

/// The budgets that the demo compares, as fractions of the tokens really seen.
inline constexpr std::array kBudgets = {0.7, 0.5, 0.3};

/// What a policy's name stands for, in a sentence.
std::string_view description(std::string_view policy);

/// The config of a cache for one sequence under a named policy: `full`, `paper`, `superseded` and `recall` (the
/// presets), `window` or `random` (with the sinks and the recent window of the preset `paper`). @throws Error for
/// another name
/// @param capacity slots per KV head; for `full` the number of tokens to come
Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed);

/// Bytes of the keys, values, codes and positions of a cache of this config, and of what `superseded` remembers of each
/// slot and `recall` of each head. `window` and `random` look at no code, so none is counted for them; a cache that
/// evicts nothing needs no positions either.
uint64_t kv_bytes(std::string_view policy, const Config& config);

}  // namespace hashevict::eval
