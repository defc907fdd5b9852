// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "engine/model.hpp"

// Options shared by several commands.
namespace hashevict::cli {

/// Adds `--seed`, a 64-bit number. CLI11 alone would clamp larger numbers.
/// @param seed holds the default, and outlives the command
/// @throws Error when a command line with another value is parsed
CLI::Option* add_seed_option(CLI::App& command, const std::string& name, uint64_t& seed,
                             const std::string& description);

/// Adds `--threads`, in the range of the library and the engine. @param threads outlives the command
void add_threads_option(CLI::App& command, int32_t& threads);

/// Loads the model that `--model` names, or the built-in one if it is empty. Refuses it before copying weights if the
/// process may not use the memory. @throws Error
engine::Model load_model(const std::string& path);

}  // namespace hashevict::cli
