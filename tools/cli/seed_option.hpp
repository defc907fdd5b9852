// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace hashevict::cli {

/// Adds an option that takes every 64-bit number and nothing else. CLI11 would take larger ones for the largest.
/// @param seed holds the default, and outlives the command
/// @throws Error when a command line that gives something else is parsed
CLI::Option* add_seed_option(CLI::App& command, const std::string& name, uint64_t& seed,
                             const std::string& description);

}  // namespace hashevict::cli
