// SPDX-License-Identifier: Apache-2.0
#include "terminal.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <vector>

namespace hashevict::cli {
namespace {

// Replaces each byte by one printable ASCII character, so that columns align.
char column_character(char byte) {
  return byte >= ' ' && byte <= '~' ? byte : '?';
}

std::vector<std::string> wrap(std::string_view text, size_t width) {
  std::vector<std::string> lines(1);
  for (const char byte : text) {
    if (byte == '\n' || lines.back().size() == width) lines.emplace_back();
    if (byte != '\n') lines.back() += column_character(byte);
  }
  return lines;
}

}  // namespace

std::string side_by_side(std::string_view left_title, std::string_view left, std::string_view right_title,
                         std::string_view right, size_t width) {
  std::vector<std::string> left_lines = wrap(left, width);
  std::vector<std::string> right_lines = wrap(right, width);
  const size_t count = std::max(left_lines.size(), right_lines.size());
  left_lines.resize(count);
  right_lines.resize(count);
  left_lines.insert(left_lines.begin(), {std::string(left_title), std::string(left_title.size(), '-')});
  right_lines.insert(right_lines.begin(), {std::string(right_title), std::string(right_title.size(), '-')});
  std::string text;
  for (size_t i = 0; i < left_lines.size(); ++i) {
    left_lines[i].resize(std::max(width, left_lines[i].size()), ' ');
    text += left_lines[i] + " | " + right_lines[i] + "\n";
  }
  return text;
}

ProgressLine::ProgressLine(Elsewhere elsewhere)
    : is_terminal_(isatty(STDERR_FILENO) == 1), is_silent_(!is_terminal_ && elsewhere == Elsewhere::nothing) {}

void ProgressLine::show(std::string_view what, double share) {
  if (is_silent_) return;
  if (is_terminal_) {
    std::fputs(fmt::format("\r\033[K{:3.0f} %  {}", 100.0 * share, what).c_str(), stderr);
  } else if (what != last_) {
    std::fputs(fmt::format("{:3.0f} %  {}\n", 100.0 * share, what).c_str(), stderr);
  }
  std::fflush(stderr);
  last_ = what;
}

void ProgressLine::finish() const {
  if (is_silent_) return;
  std::fputs(is_terminal_ ? "\r\033[K" : "100 %  done\n", stderr);
}

}  // namespace hashevict::cli
