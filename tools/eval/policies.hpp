// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <hashevict/config.hpp>
#include <string_view>

#include "engine/config.hpp"
#include "eval/quality/policy_table.hpp"

namespace hashevict::eval {

/// The bounded caches that the demo compares, all but `full` at every budget.
inline constexpr std::array<std::string_view, 5> kPolicies = {"paper", "superseded", "recall", "window", "random"};

/// The budgets that the demo compares, as fractions of the tokens really seen.
inline constexpr std::array kBudgets = {0.7, 0.5, 0.3};

/// What a policy of the table (quality/policy_table.hpp) does, in a few words. @throws Error for another name
std::string_view description(std::string_view policy);

/// The config of a cache for one sequence under a policy of the library, keys and values as bfloat16.
/// @throws Error for another name, or for a policy that lives outside the library
/// @param capacity slots per KV head; for `full` the number of tokens to come
Config policy_config(std::string_view policy, const engine::ModelConfig& model, int32_t capacity, uint64_t seed);

/// Bytes that such a cache keeps: keys, values and what the policy remembers beside them (ByteModel).
uint64_t kv_bytes(std::string_view policy, const Config& config);

}  // namespace hashevict::eval
