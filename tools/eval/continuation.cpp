// SPDX-License-Identifier: Apache-2.0
#include "continuation.hpp"

#include <algorithm>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"

namespace hashevict::eval {
namespace {

// One printable ASCII character a byte, so that columns stay straight.
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

std::string continue_prompt(const Runtime& runtime, const Config& config, std::string_view prompt, int32_t num_bytes) {
  engine::KvCache cache = make_cache(runtime, config);
  engine::Decoder decoder(runtime.model, cache, runtime.threads);
  engine::GenerateOptions options;
  options.max_new_tokens = num_bytes;
  return engine::ByteTokenizer::decode(
      engine::generate(decoder, sequence_tokens(runtime.model.config(), prompt), options));
}

void compare_with_first(ContinuationStudy& study) {
  const std::string& full = study.policies.front().text;
  for (Continuation& continuation : study.policies) {
    const auto differs = std::mismatch(full.begin(), full.end(), continuation.text.begin(), continuation.text.end());
    continuation.same_as_full = static_cast<size_t>(differs.first - full.begin());
  }
}

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

}  // namespace hashevict::eval
