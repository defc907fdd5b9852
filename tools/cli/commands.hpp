// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace hashevict::cli {

/// Each adds one subcommand, which runs when a command line that names it is parsed. Throws Error, or another
/// std::exception for a defect.
void add_demo(CLI::App& app);
void add_replay(CLI::App& app);
void add_generate(CLI::App& app);
void add_info(CLI::App& app);

}  // namespace hashevict::cli
