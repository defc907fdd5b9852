// SPDX-License-Identifier: Apache-2.0
// The pieces of running text that an evaluation is made on: errors take them for independent of each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/embedded_model.hpp"
#include "eval/quality/evaluation.hpp"
#include "eval/quality/running_text.hpp"

namespace hashevict::eval {
namespace {

using testing::HasSubstr;

class RunningTexts : public testing::Test {
 protected:
  RunningTexts() : model_(engine::load_embedded_model()), threads_(1) {}

  RunningText texts(SeedSet set, int32_t length) const { return {model_.config(), text_, set, length}; }

  // All pieces of a set, as they lie in the text.
  std::vector<std::string_view> pieces(SeedSet set, int32_t length) const {
    const RunningText texts = this->texts(set, length);
    std::vector<std::string_view> pieces;
    for (const uint64_t seed : seeds(set)) {
      for (int32_t index = 0; index < texts.num_examples(); ++index) pieces.push_back(texts.piece(seed, index));
    }
    std::sort(pieces.begin(), pieces.end(), [](auto a, auto b) { return a.data() < b.data(); });
    return pieces;
  }

  std::string refusal(const EvalOptions& options) {
    try {
      validate({model_, threads_}, options);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  // Needs no votes.
  EvalOptions options(int32_t num_examples) const {
    EvalOptions options;
    options.text = text_;
    options.policies = parse_policies("full,window");
    options.num_examples = num_examples;
    return options;
  }

  engine::Model model_;
  engine::ThreadPool threads_;
  std::string text_{engine::embedded_sample_text()};
};

TEST_F(RunningTexts, NoPieceOverlapsAnotherAndAllLieInTheSetsHalf) {
  for (const SeedSet set : {SeedSet::dev, SeedSet::test}) {
    const std::string_view half = half_of(text_, set);
    for (const int32_t length : {192, 200, 256, 511, 512, 1000, 1024}) {
      const std::vector<std::string_view> all = pieces(set, length);
      // What is left over is less than a piece for each seed.
      EXPECT_GT((all.size() + seeds(set).size()) * static_cast<size_t>(length - 1), half.size()) << length;
      EXPECT_GE(all.front().data(), half.data());
      EXPECT_LE(all.back().data() + all.back().size(), half.data() + half.size());
      for (size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i].size(), static_cast<size_t>(length - 1)) << "the mark that begins a sequence is a token too";
        if (i > 0) {
          EXPECT_GE(all[i].data(), all[i - 1].data() + all[i - 1].size()) << name(set) << ", " << length << ", " << i;
        }
      }
    }
  }
}

TEST_F(RunningTexts, SequencesAreTheirPieces) {
  const RunningText texts = this->texts(SeedSet::test, 256);
  const Sequence sequence = texts.sequence(seeds(SeedSet::test)[1], 2);
  EXPECT_EQ(sequence.tokens, sequence_tokens(model_.config(), texts.piece(seeds(SeedSet::test)[1], 2)));
  EXPECT_EQ(sequence.tokens.size(), 256U);
  EXPECT_EQ(sequence.num_prefilled, 0U);
  EXPECT_TRUE(sequence.answers.empty());
}

TEST_F(RunningTexts, PiecesThatThereAreNotAreRefused) {
  const RunningText texts = this->texts(SeedSet::dev, 1024);
  EXPECT_EQ(texts.num_examples(), 7);
  EXPECT_NO_THROW(static_cast<void>(texts.piece(101, 6)));
  EXPECT_THROW(static_cast<void>(texts.piece(101, 7)), Error);
  EXPECT_THROW(static_cast<void>(texts.piece(101, -1)), Error);
  EXPECT_THROW(static_cast<void>(texts.piece(920001, 0)), Error) << "a seed of the other set";
}

TEST_F(RunningTexts, OfTextAloneNoMoreExamplesAreTakenThanThereAre) {
  EvalOptions alone = options(7);
  alone.tasks.clear();
  EXPECT_EQ(refusal(alone), "accepted");
  alone.num_examples = 8;
  EXPECT_THAT(refusal(alone), HasSubstr("examples: 8 texts a seed, but half of the text holds 21 pieces of 1024"));
}

TEST_F(RunningTexts, BesideTasksThereAreAsManyTextsAsFit) {
  EXPECT_EQ(refusal(options(20)), "accepted");
  EXPECT_EQ(num_texts(model_.config(), options(20)), 7);
  EXPECT_EQ(num_texts(model_.config(), options(2)), 2);
  EvalOptions recall = options(20);
  recall.running_text = false;
  EXPECT_EQ(num_texts(model_.config(), recall), 0);
}

TEST_F(RunningTexts, ATextThatIsTooShortForOneASeedIsRefused) {
  EvalOptions tight = options(1);
  tight.text.resize(size_t{2} * 3 * 1023 - 1);
  EXPECT_THAT(refusal(tight), HasSubstr("text: half of the text holds 2 pieces of 1024 tokens"));
  tight.running_text = false;
  EXPECT_EQ(refusal(tight), "accepted");
  EXPECT_TRUE(correlate({model_, threads_}, tight).empty());
}

}  // namespace
}  // namespace hashevict::eval
