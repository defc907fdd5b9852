// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "report.hpp"
#include "scores.hpp"

namespace hashevict::cli {

/// The extent of a demo.
struct DemoOptions {
  std::string text;  ///< running text, and the filler of the recall examples
  std::string text_source = "built-in sample";
  std::string model = "built-in tiny-llama";
  int32_t length = 1024;        ///< tokens of a sequence
  int32_t num_texts = 8;        ///< pieces of running text
  int32_t num_examples = 10;    ///< per recall task
  int32_t num_timed = 96;       ///< tokens that the speed is measured over
  int32_t num_continued = 200;  ///< bytes of the continuation
  uint64_t seed = 1;
  bool quick = false;

  /// A short demo, which shows only that it works.
  static DemoOptions make_quick();
};

/// Called with the current stage and the share of all work that is done.
using Progress = std::function<void(std::string_view what, double share)>;

/// The words from which recall tasks draw keys and values (`assets/text/words.txt`).
std::string_view embedded_words();

/// Returns the example whose retention is recorded: the first needle that lies early, so that every budget has time to
/// evict it. Its place alone decides. If no blank or newline of the text allows such a place, it lies within a word.
/// @throws Error for a sequence too short to have an early part
Example retention_example(const DemoOptions& options);

/// Refuses a text that is too short for run_demo(). @throws Error
void require_valid(const DemoOptions& options);

/// Estimates a demo's memory from below: model, decoder, the full cache and the text.
uint64_t demo_bytes(const engine::Model& model, const DemoOptions& options);

/// Runs the demo: every policy with equal slots, and with those that the runtime's profile divides.
/// @throws Error, as require_valid()
Report run_demo(const Runtime& runtime, const DemoOptions& options, const Progress& progress);

}  // namespace hashevict::cli
