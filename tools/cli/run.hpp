// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>

namespace hashevict::cli {

/// Runs the command hashevict, as run() below.
int run(int argc, const char* const* argv);

/// Parses a command line, runs the callbacks of `app`, and adds `--version`.
/// @return the exit code: 0; 2 for bad input or usage, 1 for anything else, each after one line on standard error
int run(CLI::App& app, int argc, const char* const* argv);

}  // namespace hashevict::cli
