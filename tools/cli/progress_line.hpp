// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace hashevict::cli {

/// One line on standard error that is rewritten on a terminal; elsewhere one line a stage.
class ProgressLine {
 public:
  ProgressLine();
  void show(std::string_view what, double share);
  void finish() const;

 private:
  bool is_terminal_;
  std::string last_;
};

}  // namespace hashevict::cli
