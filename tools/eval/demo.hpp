// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "report.hpp"
#include "scores.hpp"

namespace hashevict::eval {

/// How much a demo does.
struct DemoOptions {
  std::string text;  ///< running text, and the filler of the recall examples
  std::string text_source = "built-in sample";
  std::string model = "built-in tiny-llama";
  int32_t length = 1024;        ///< tokens of a sequence
  int32_t num_texts = 8;        ///< pieces of running text
  int32_t num_examples = 10;    ///< per recall task
  int32_t num_timed = 96;       ///< tokens that the speed is taken over
  int32_t num_continued = 200;  ///< bytes that the prompt is continued by
  uint64_t seed = 1;
  bool quick = false;

  /// Much less of everything, to see that it works.
  static DemoOptions make_quick();
};

/// Called as work goes on: what is being done, and the share of all work that is done.
using Progress = std::function<void(std::string_view what, double share)>;

/// The words that keys and values of the recall tasks are drawn from (`assets/text/words.txt`).
std::string_view embedded_words();

/// The example that retention is followed on: the first needle that lies early, so that every budget has had time to
/// lose it. Chosen by its place alone.
Example retention_example(const DemoOptions& options);

/// What run_demo() would refuse: a text that is too short. @throws Error
void require_valid(const DemoOptions& options);

/// Runs everything. @throws Error, as require_valid()
Report run_demo(const Runtime& runtime, const DemoOptions& options, const Progress& progress);

}  // namespace hashevict::eval
