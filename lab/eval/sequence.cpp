// SPDX-License-Identifier: Apache-2.0
#include "sequence.hpp"

#include <algorithm>
#include <array>

#include "cli/demo/text.hpp"
#include "engine/tokenizer.hpp"

namespace hashevict::lab {
namespace {

constexpr size_t kQuestions = 3;  // at most, after one streamed context

void append(std::vector<int32_t>& tokens, std::string_view text) {
  const std::vector<int32_t> more = engine::ByteTokenizer::encode(text);
  tokens.insert(tokens.end(), more.begin(), more.end());
}

void append_answer(Sequence& sequence, std::string_view answer) {
  const size_t begin = sequence.tokens.size();
  append(sequence.tokens, answer);
  sequence.answers.push_back({begin, sequence.tokens.size()});
}

}  // namespace

int32_t num_marks(const engine::ModelConfig& model) {
  return model.bos_token ? 1 : 0;
}

std::span<const uint64_t> seeds(SeedSet set) {
  static constexpr std::array<uint64_t, 3> kDev = {101, 102, 103};
  static constexpr std::array<uint64_t, 3> kTest = {920001, 920002, 920003};
  return set == SeedSet::dev ? kDev : kTest;
}

std::string_view half_of(std::string_view text, SeedSet set) {
  const size_t middle = text.size() / 2;
  return set == SeedSet::dev ? text.substr(0, middle) : text.substr(middle);
}

double Sequence::measure(engine::Decoder& decoder) const {
  const std::span<const int32_t> all(tokens);
  if (answers.empty()) return cli::nats_per_byte(decoder, all);
  if (num_prefilled > 0) decoder.prefill(all.first(num_prefilled), {}, engine::Logits::none);
  size_t at = num_prefilled;
  size_t num_right = 0;
  for (const auto& [begin, end] : answers) {
    num_right += cli::answers(decoder, all.subspan(at, begin - at), all.subspan(begin, end - begin)) ? 1 : 0;
    at = end;
  }
  return static_cast<double>(num_right) / static_cast<double>(answers.size());
}

Sequence make_recall(const engine::ModelConfig& model, Mode mode, cli::Task task, const cli::Ingredients& ingredients,
                     int32_t length, cli::Random& random) {
  const auto bytes = static_cast<size_t>(length - num_marks(model));
  const cli::Example example =
      cli::make_example(random, task, ingredients, bytes, mode == Mode::streamed ? kQuestions : size_t{1});
  Sequence sequence;
  sequence.tokens = cli::sequence_tokens(model, example.prompt);
  // The prompt's last token is streamed, so that every byte of the answer depends on the cache alone.
  if (mode == Mode::known) sequence.num_prefilled = sequence.tokens.size() - 1;
  append_answer(sequence, example.answer);
  for (const cli::Turn& turn : example.more) {
    append(sequence.tokens, turn.prompt);
    append_answer(sequence, turn.answer);
  }
  return sequence;
}

RunningText::RunningText(const engine::ModelConfig& model, std::string_view text, SeedSet set, int32_t length)
    : model_(model), set_(set) {
  const std::string_view half = half_of(text, set);
  const auto size = static_cast<size_t>(length - num_marks(model));
  pieces_ = cli::cut_evenly(half, size, half.size() / size);
  cli::Random random(seeds(set).front());
  random.shuffle(pieces_);
}

int32_t RunningText::num_examples() const {
  return static_cast<int32_t>(pieces_.size() / seeds(set_).size());
}

std::string_view RunningText::piece(uint64_t seed, int32_t index) const {
  const std::span<const uint64_t> all = seeds(set_);
  const auto place = std::find(all.begin(), all.end(), seed);
  if (place == all.end() || index < 0 || index >= num_examples()) {
    throw Error(Status::invalid_argument, "no piece of running text for seed " + std::to_string(seed) + ", example " +
                                              std::to_string(index) + ": there are " + std::to_string(num_examples()) +
                                              " a seed");
  }
  return pieces_[static_cast<size_t>(index) * all.size() + static_cast<size_t>(place - all.begin())];
}

Sequence RunningText::sequence(uint64_t seed, int32_t index) const {
  return {cli::sequence_tokens(model_, piece(seed, index)), 0, {}};
}

}  // namespace hashevict::lab
