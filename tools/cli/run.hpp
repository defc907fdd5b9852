// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hashevict::cli {

/// The whole command. @return the exit code: 0; 2 for bad input or usage, 1 for anything else, each after one line on
/// standard error
int run(int argc, const char* const* argv);

}  // namespace hashevict::cli
