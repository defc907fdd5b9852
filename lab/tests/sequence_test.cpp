// SPDX-License-Identifier: Apache-2.0
// Seeds, examples and pieces of running text of an evaluation: errors take them for independent of each other.
#include <algorithm>
#include <set>

#include "cli/demo/demo.hpp"
#include "engine/embedded_model.hpp"
#include "engine/refusal.hpp"
#include "eval/experiment.hpp"

namespace hashevict::lab {
namespace {

using cli::Ingredients;
using cli::Random;
using cli::Task;
using testing::HasSubstr;

TEST(Seeds, DevAndTestShareNothing) {
  for (const uint64_t seed : seeds(SeedSet::dev)) {
    EXPECT_EQ(std::count(seeds(SeedSet::test).begin(), seeds(SeedSet::test).end(), seed), 0);
  }
  EXPECT_GE(seeds(SeedSet::dev).size(), 3U);
  EXPECT_GE(seeds(SeedSet::test).size(), 3U);
  const std::string_view text = "0123456789";
  EXPECT_EQ(half_of(text, SeedSet::dev), "01234");
  EXPECT_EQ(half_of(text, SeedSet::test), "56789");
}

TEST(ExampleSeed, IsAnotherForEveryExampleAndTheSameForEveryPolicy) {
  std::set<uint64_t> used;
  size_t count = 0;
  for (const SeedSet set : {SeedSet::dev, SeedSet::test}) {
    for (const uint64_t seed : seeds(set)) {
      for (int32_t index = 0; index < 1100; ++index) {
        for (const Mode mode : {Mode::streamed, Mode::known}) {
          Measurement m{mode, std::string(kText), seed, index, "paper", 0.3};
          used.insert(example_seed(m));
          for (const Task task : cli::kTasks) {
            m.what = name(task);
            used.insert(example_seed(m));
          }
          count += 1 + cli::kTasks.size();
        }
      }
    }
  }
  EXPECT_EQ(used.size(), count);
  const Measurement paper{Mode::known, "map", 101, 7, "paper", 0.3};
  const Measurement random{Mode::known, "map", 101, 7, "random", 0.1};
  EXPECT_EQ(example_seed(paper), example_seed(random));
}

class Sequences : public testing::Test {
 protected:
  Sequences() : model_(engine::load_embedded_model()) {}

  Sequence make(Mode mode, Task task) {
    Random random(5);
    const Ingredients ingredients{engine::embedded_sample_text(), cli::split_words(cli::embedded_words())};
    return make_recall(model_.config(), mode, task, ingredients, 300, random);
  }

  engine::Model model_;
};

TEST_F(Sequences, HaveTheLengthAskedForAndEndWithAnAnswer) {
  for (const Mode mode : {Mode::streamed, Mode::known}) {
    const Sequence sequence = make(mode, Task::needle);
    EXPECT_EQ(sequence.tokens.size(), 300U) << name(mode);
    ASSERT_FALSE(sequence.answers.empty());
    EXPECT_EQ(sequence.answers.back().end, 300U);
  }
}

TEST_F(Sequences, PromptsAreWhatTheModeSays) {
  EXPECT_EQ(make(Mode::streamed, Task::needle).num_prefilled, 0U);
  const Sequence known = make(Mode::known, Task::needle);
  EXPECT_EQ(known.num_prefilled + 1, known.answers.front().begin);
}

TEST_F(Sequences, OneStreamedContextIsAskedSeveralTimes) {
  EXPECT_GT(make(Mode::streamed, Task::map).answers.size(), 1U);
  EXPECT_EQ(make(Mode::known, Task::map).answers.size(), 1U);
}

class RunningTexts : public testing::Test {
 protected:
  RunningTexts() : model_(engine::load_embedded_model()), threads_(1) {}

  RunningText texts(SeedSet set, int32_t length) const { return {model_.config(), text_, set, length}; }

  // All pieces of a set, in the order of the text.
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
    return engine::refusal([&] { validate({model_, threads_}, options); }, Status::invalid_argument);
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
      // The remainder for each seed is shorter than a piece.
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
  EXPECT_EQ(sequence.tokens, cli::sequence_tokens(model_.config(), texts.piece(seeds(SeedSet::test)[1], 2)));
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
}

}  // namespace
}  // namespace hashevict::lab
