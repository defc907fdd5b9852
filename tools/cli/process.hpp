// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hashevict::cli {

/// Sets the process up before a command runs:
///  - no file opened later replaces a closed standard stream;
///  - a signal that ends the process removes unfinished files first; the exit status is still the signal's;
///  - truncating a file while it is read ends the process with one line and exit code 2, not with SIGBUS;
///  - exceeding `ulimit -f` is an error of writing, not SIGXFSZ.
/// @return false if standard output is closed
bool prepare_process();

}  // namespace hashevict::cli
