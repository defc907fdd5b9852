// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "workload.hpp"

namespace hashevict::bench {

/// The policies whose replay of a prompt is measured, by name.
std::vector<std::pair<std::string, Shape>> replay_shapes();

/// The row of a prompt's replay, with slots for 30 % of its tokens and without attention, over the steps that it
/// replaces: `append` of as many tokens, one by one, into the full cache.
nlohmann::json replay_over_steps(const std::string& name, int rounds, Shape shape, int32_t tokens);

}  // namespace hashevict::bench
