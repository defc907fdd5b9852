// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.hpp"

namespace hashevict::engine {

namespace {

constexpr std::int32_t kNumBytes = 256;
constexpr std::int32_t kMaxMarks = 256;  // a larger vocabulary has words

}  // namespace

void ByteTokenizer::require_fits(const ModelConfig& config) {
  if (config.vocab_size < kNumBytes || config.vocab_size > kNumBytes + kMaxMarks) {
    throw Error{Status::unsupported, "vocab_size = " + std::to_string(config.vocab_size) +
                                         ": expected that of a byte-level model, 256 bytes and at most " +
                                         std::to_string(kMaxMarks) + " marks"};
  }
  if (config.bos_token && *config.bos_token >= config.vocab_size) {
    throw Error{Status::unsupported, "bos_token_id = " + std::to_string(*config.bos_token) +
                                         ": expected a token below vocab_size = " + std::to_string(config.vocab_size)};
  }
}

std::vector<std::int32_t> ByteTokenizer::encode(std::string_view text) {
  std::vector<std::int32_t> tokens;
  tokens.reserve(text.size());
  for (const char byte : text) tokens.push_back(static_cast<unsigned char>(byte));
  return tokens;
}

std::string ByteTokenizer::decode(std::span<const std::int32_t> tokens) {
  std::string text;
  for (const std::int32_t token : tokens) {
    if (token >= 0 && token < kNumBytes) text.push_back(static_cast<char>(token));
  }
  return text;
}

}  // namespace hashevict::engine
