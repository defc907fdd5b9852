// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hashevict::cli {

/// Rewrites one line on standard error if it is a terminal; otherwise prints one line a stage, or nothing.
class ProgressLine {
 public:
  enum class Elsewhere { stages, nothing };

  explicit ProgressLine(Elsewhere elsewhere = Elsewhere::stages);
  void show(std::string_view what, double share);
  void finish() const;

 private:
  bool is_terminal_, is_silent_;
  std::string last_;
};

/// Formats two texts as two columns of `width` characters each, with the texts' line breaks.
std::string side_by_side(std::string_view left_title, std::string_view left, std::string_view right_title,
                         std::string_view right, size_t width);

}  // namespace hashevict::cli
