// SPDX-License-Identifier: Apache-2.0
#include "sequence.hpp"

#include <algorithm>
#include <array>

#include "engine/generate.hpp"
#include "engine/tokenizer.hpp"

namespace hashevict::eval {
namespace {

constexpr size_t kQuestions = 3;       // after one streamed context, where the task knows that many
constexpr size_t kGeneratedShare = 4;  // the prompt of Mode::generated is this part of the sequence
constexpr std::string_view kQuestion = "\nQ: ";

void append(std::vector<int32_t>& tokens, std::string_view text) {
  const std::vector<int32_t> more = engine::ByteTokenizer::encode(text);
  tokens.insert(tokens.end(), more.begin(), more.end());
}

void append_answer(Sequence& sequence, std::string_view answer) {
  const size_t begin = sequence.tokens.size();
  append(sequence.tokens, answer);
  sequence.answers.push_back({begin, sequence.tokens.size()});
}

// Text of the full cache's own, drawn at temperature 1; the marks that no text holds are left out by ending lines.
std::vector<int32_t> continue_text(const Runtime& runtime, std::span<const int32_t> prompt, size_t count,
                                   uint64_t seed) {
  const auto total = static_cast<int32_t>(prompt.size() + count);
  PolicyRun run(runtime, parse_policy("full"), total, total, seed, nullptr);
  engine::GenerateOptions options;
  options.max_new_tokens = static_cast<int32_t>(count);
  options.sampling.temperature = 1;
  options.sampling.seed = seed;
  std::vector<int32_t> tokens = engine::generate(run.decoder(), prompt, options);
  for (int32_t& token : tokens) token = token < 256 ? token : '\n';
  return tokens;
}

// Streams tokens up to `end` in batches and hands the logits of each batch over.
template <class Consume>
void stream_until(engine::Decoder& decoder, std::span<const int32_t> tokens, size_t& at, size_t end,
                  engine::Logits wanted, const Consume& consume) {
  while (at < end) {
    const size_t size = std::min(end - at, kBatchTokens);
    consume(at, decoder.stream(tokens.subspan(at, size), wanted));
    at += size;
  }
}

Sample measure_answers(const Sequence& sequence, PolicyRun& run, const baselines::FullAttention& attention) {
  const std::span<const int32_t> tokens = sequence.tokens;
  const auto skip = [](size_t, std::span<const float>) {};
  Sample sample;
  size_t at = sequence.num_prefilled;
  for (const ByteRange& answer : sequence.answers) {
    // The token before each byte of the answer predicts it.
    stream_until(run.decoder(), tokens, at, answer.begin - 1, engine::Logits::none, skip);
    sample.lost += attention.lost(static_cast<int32_t>(at), run.held());
    bool right = true;
    stream_until(run.decoder(), tokens, at, answer.end - 1, engine::Logits::all,
                 [&](size_t first, std::span<const float> logits) {
                   const auto vocab = static_cast<size_t>(run.decoder().model().config().vocab_size);
                   for (size_t i = 0; i * vocab < logits.size(); ++i) {
                     right = right && engine::greedy(logits.subspan(i * vocab, vocab)) == tokens[first + i + 1];
                   }
                 });
    sample.score += right ? 1.0 : 0.0;
  }
  const auto count = static_cast<double>(sequence.answers.size());
  sample.score /= count;
  sample.lost /= count;
  return sample;
}

Sample measure_text(const Sequence& sequence, PolicyRun& run, const baselines::FullAttention& attention) {
  constexpr size_t kLooks = 8;  // at what is held, evenly over the sequence
  const std::span<const int32_t> tokens = sequence.tokens;
  const auto vocab = static_cast<size_t>(run.decoder().model().config().vocab_size);
  Sample sample;
  size_t at = 0;
  for (size_t look = 1; look <= kLooks; ++look) {
    stream_until(run.decoder(), tokens, at, look * (tokens.size() - 1) / kLooks, engine::Logits::all,
                 [&](size_t first, std::span<const float> logits) {
                   for (size_t i = 0; i * vocab < logits.size(); ++i) {
                     sample.score +=
                         engine::negative_log_likelihood(logits.subspan(i * vocab, vocab), tokens[first + i + 1]);
                   }
                 });
    sample.lost += attention.lost(static_cast<int32_t>(at), run.held()) / kLooks;
  }
  sample.score /= static_cast<double>(tokens.size() - 1);
  return sample;
}

Sequence from_example(const engine::ModelConfig& model, const Example& example, bool known) {
  Sequence sequence;
  sequence.tokens = sequence_tokens(model, example.prompt);
  // The prompt's last token is streamed, so that every byte of the answer comes from what the cache has kept.
  if (known) sequence.num_prefilled = sequence.tokens.size() - 1;
  append_answer(sequence, example.answer);
  for (const Turn& turn : example.more) {
    append(sequence.tokens, turn.prompt);
    append_answer(sequence, turn.answer);
  }
  return sequence;
}

Sequence make_generated(const Runtime& runtime, Task task, const Ingredients& ingredients, int32_t length,
                        Random& random) {
  const engine::ModelConfig& model = runtime.model.config();
  const auto total = static_cast<size_t>(length);
  const size_t context = std::max(total / kGeneratedShare, minimum_length(task));
  const Example example = make_example(random, task, ingredients, context);
  const size_t cut = example.prompt.rfind(kQuestion);
  Sequence sequence;
  sequence.tokens = sequence_tokens(model, std::string_view(example.prompt).substr(0, cut));
  sequence.num_prefilled = sequence.tokens.size();
  const size_t owed = example.prompt.size() - cut + example.answer.size();
  const std::vector<int32_t> own =
      continue_text(runtime, sequence.tokens, total - owed - sequence.tokens.size(), random.next());
  sequence.tokens.insert(sequence.tokens.end(), own.begin(), own.end());
  append(sequence.tokens, std::string_view(example.prompt).substr(cut));
  append_answer(sequence, example.answer);
  return sequence;
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

Sample Sequence::measure(PolicyRun& run, const baselines::FullAttention& attention) const {
  if (num_prefilled > 0) run.prefill(std::span(tokens).first(num_prefilled));
  return answers.empty() ? measure_text(*this, run, attention) : measure_answers(*this, run, attention);
}

Sequence make_recall(const Runtime& runtime, Mode mode, Task task, const Ingredients& ingredients, int32_t length,
                     Random& random) {
  if (mode == Mode::generated) return make_generated(runtime, task, ingredients, length, random);
  const engine::ModelConfig& model = runtime.model.config();
  const auto bytes = static_cast<size_t>(length - num_marks(model));
  const Example example =
      make_example(random, task, ingredients, bytes, mode == Mode::streamed ? kQuestions : size_t{1});
  return from_example(model, example, mode == Mode::known);
}

}  // namespace hashevict::eval
