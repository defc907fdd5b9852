// SPDX-License-Identifier: Apache-2.0
#include "progress_line.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace hashevict::cli {

ProgressLine::ProgressLine() : is_terminal_(isatty(STDERR_FILENO) == 1) {}

void ProgressLine::show(std::string_view what, double share) {
  if (is_terminal_) {
    std::fputs(fmt::format("\r\033[K{:3.0f} %  {}", 100.0 * share, what).c_str(), stderr);
  } else if (what != last_) {
    std::fputs(fmt::format("{:3.0f} %  {}\n", 100.0 * share, what).c_str(), stderr);
  }
  std::fflush(stderr);
  last_ = what;
}

void ProgressLine::finish() const {
  std::fputs(is_terminal_ ? "\r\033[K" : "100 %  done\n", stderr);
}

}  // namespace hashevict::cli
