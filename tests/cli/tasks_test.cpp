// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/tasks.hpp"

#include <gtest/gtest.h>

#include <hashevict/status.hpp>
#include <map>
#include <set>
#include <sstream>

#include "cli/demo/demo.hpp"
#include "cli/demo/text.hpp"
#include "engine/embedded_model.hpp"

namespace hashevict::cli {
void PrintTo(Task task, std::ostream* out) {
  *out << name(task);
}

namespace {

constexpr std::string_view kMarker = "\nQ: ";

const Ingredients& ingredients() {
  static const Ingredients kIngredients{engine::embedded_sample_text(), split_words(embedded_words())};
  return kIngredients;
}

// Bytes of the prompt before the question, and the question's stem.
std::pair<std::string, std::string> split(const Example& example) {
  const size_t at = example.prompt.rfind(kMarker);
  EXPECT_NE(at, std::string::npos);
  return {example.prompt.substr(0, at), example.prompt.substr(at + kMarker.size())};
}

std::string fact_of(const Example& example) {
  return example.prompt.substr(example.fact.begin, example.fact.end - example.fact.begin);
}

class Tasks : public testing::TestWithParam<Task> {};

TEST_P(Tasks, ExamplesHaveTheLengthAskedFor) {
  Random random(1);
  for (const size_t length : {minimum_length(GetParam()), size_t{256}, size_t{257}, size_t{1024}}) {
    for (int i = 0; i < 20; ++i) {
      if (length < 256 && GetParam() != Task::needle) continue;
      const Example example = make_example(random, GetParam(), ingredients(), length);
      EXPECT_EQ(example.prompt.size() + example.answer.size(), length);
    }
  }
}

TEST_P(Tasks, SameSeedGivesTheSameExample) {
  Random a(7);
  Random b(7);
  Random c(8);
  const Example example = make_example(a, GetParam(), ingredients(), 512);
  EXPECT_EQ(example.prompt, make_example(b, GetParam(), ingredients(), 512).prompt);
  EXPECT_NE(example.prompt, make_example(c, GetParam(), ingredients(), 512).prompt);
}

TEST_P(Tasks, TooShortIsRefused) {
  Random random(1);
  EXPECT_THROW(make_example(random, GetParam(), ingredients(), minimum_length(GetParam()) - 1), Error);
  EXPECT_THROW(make_example(random, GetParam(), {"short", ingredients().words}, 512), Error);
}

INSTANTIATE_TEST_SUITE_P(All, Tasks, testing::ValuesIn(kTasks), testing::PrintToStringParamName());

TEST(Needle, FactStandsInTheTextAndAnswersTheQuestion) {
  Random random(3);
  std::set<std::string> forms;
  for (int i = 0; i < 60; ++i) {
    const Example example = make_example(random, Task::needle, ingredients(), 400);
    const auto [text, stem] = split(example);
    std::string answered = stem + example.answer;
    if (answered.ends_with('\n')) answered.pop_back();
    EXPECT_EQ(fact_of(example), answered);
    EXPECT_EQ(stem.back(), ' ');
    forms.insert(stem.substr(0, stem.find_first_of("_ ")));
  }
  EXPECT_TRUE(forms.contains("The"));
  EXPECT_TRUE(forms.contains("#define"));
  EXPECT_GT(forms.size(), 4U);  // the keys of the template `port`
}

TEST(Needle, FillerIsContiguousTextFromTheStartOfALine) {
  Random random(4);
  for (int i = 0; i < 40; ++i) {
    const Example example = make_example(random, Task::needle, ingredients(), 400);
    std::string filler = split(example).first;
    const bool is_inline = example.prompt[example.fact.end] == ' ';
    const size_t begin = example.fact.begin - (is_inline ? 0 : 1);
    filler.erase(begin, example.fact.end + 1 - begin);
    const size_t at = ingredients().text.find(filler);
    ASSERT_NE(at, std::string_view::npos) << filler;
    EXPECT_TRUE(at == 0 || ingredients().text[at - 1] == '\n');
  }
}

TEST(Multi, OneOfEightKeysIsAsked) {
  Random random(5);
  for (int i = 0; i < 40; ++i) {
    const Example example = make_example(random, Task::multi, ingredients(), 1024);
    const auto [text, stem] = split(example);
    EXPECT_EQ(text.find(stem), text.rfind(stem)) << "the key is not unique";
    EXPECT_EQ(text.substr(text.find(stem) + stem.size(), example.answer.size()), example.answer);
  }
}

TEST(Tracking, LettersOfTheAskedIntegerFollowItsChain) {
  Random random(6);
  for (int i = 0; i < 60; ++i) {
    const Example example = make_example(random, Task::tracking, ingredients(), 700);
    const auto [text, stem] = split(example);
    std::map<std::string, std::string> holder;  // of each value
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const size_t to = line.find(" to ");
      if (line.starts_with("move ") && to <= 7 && line.size() == to + 5)
        holder[line.substr(5, to - 5)] = line.substr(to + 4);
    }
    ASSERT_EQ(holder.size(), 6U) << text;
    std::string expected;
    for (std::string at = stem.substr(std::string("move ").size(), 2); holder.contains(at);) {
      at = holder[at];
      expected += (expected.empty() ? "" : " ") + at;
    }
    EXPECT_EQ(expected + ".", example.answer);
    EXPECT_EQ(fact_of(example), stem + example.answer.substr(0, 1));
  }
}

TEST(Values, BothAreAskedAsTheyStand) {
  Random random(10);
  const Example example = make_example(random, Task::values, ingredients(), 512);
  const auto [text, stem] = split(example);
  const std::string key = stem.substr(4, stem.size() - 6);
  const size_t first = text.find("\n" + key + " = " + example.answer.substr(0, 4) + "\n");
  ASSERT_NE(first, std::string::npos);
  EXPECT_NE(text.find("\n" + key + " = " + example.answer.substr(5, 4) + "\n", first + 1), std::string::npos);
}

TEST(Common, AnswerStandsMoreOftenThanAnyOther) {
  Random random(11);
  const Example example = make_example(random, Task::common, ingredients(), 512);
  std::map<std::string, int> votes;
  std::istringstream lines(split(example).first);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("vote: ")) ++votes[line.substr(6) + "\n"];
  }
  EXPECT_EQ(votes.size(), 6U);
  for (const auto& [word, count] : votes) EXPECT_EQ(count, word == example.answer ? 3 : 1);
}

TEST(Decoys, NearDuplicatesStandBesideTheNeedle) {
  Random random(12);
  for (int i = 0; i < 40; ++i) {
    const Example example = make_example(random, Task::decoys, ingredients(), 600);
    const auto [text, stem] = split(example);
    EXPECT_EQ(text.find(stem), text.rfind(stem)) << "a decoy answers the question";
    EXPECT_NE(text.find(stem + example.answer), std::string::npos);
    // The needle's template three times in all: decoys differ in their keys only.
    const std::string_view mark = stem.starts_with("#")          ? "#define "
                                  : stem.starts_with("The code") ? "The code of "
                                  : stem.starts_with("The ")     ? " likes "
                                                                 : "_port = ";
    int count = 0;
    for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) ++count;
    EXPECT_GE(count, 3) << text;
  }
}

TEST(Copy, LineIsRepeatedAfterItsFirstWord) {
  Random random(7);
  const Example example = make_example(random, Task::copy, ingredients(), 512);
  EXPECT_EQ(fact_of(example) + "\n", split(example).second + example.answer);
  EXPECT_EQ(std::count(example.answer.begin(), example.answer.end(), ' '), 4);
}

TEST(Map, EntryOfTheAskedKeyIsTheAnswer) {
  Random random(8);
  const Example example = make_example(random, Task::map, ingredients(), 512);
  EXPECT_NE(fact_of(example).find(" " + split(example).second + example.answer), std::string::npos);
  EXPECT_EQ(std::count(example.prompt.begin() + static_cast<std::ptrdiff_t>(example.fact.begin),
                       example.prompt.begin() + static_cast<std::ptrdiff_t>(example.fact.end), ';'),
            8);
}

TEST(Random, DrawsAreUniformAndWithinBounds) {
  Random random(9);
  std::vector<int> counts(7, 0);
  for (int i = 0; i < 7000; ++i) ++counts.at(random.below(7));
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
  for (int i = 0; i < 1000; ++i) {
    const int64_t number = random.between(10, 99);
    EXPECT_GE(number, 10);
    EXPECT_LE(number, 99);
  }
}

// Functions that cut texts accept every text: without blanks, of blanks alone, of any bytes.

std::string repeated(const std::string& piece, size_t size) {
  std::string text;
  while (text.size() < size) text += piece;
  return text.substr(0, size);
}

std::map<std::string, std::string> odd_texts(size_t size) {
  return {{"one character", std::string(size, 'x')},
          {"blanks", std::string(size, ' ')},
          {"newlines", std::string(size, '\n')},
          {"NULs", std::string(size, '\0')},
          {"bytes that are no UTF-8", std::string(size, '\xff')},
          {"lines of 78 bytes", repeated(std::string(77, 'x') + "\n", size)},
          {"lines that end in two bytes", repeated("some words\r\n", size)},
          {"a newline at the end", std::string(size - 1, 'x') + "\n"},
          {"a blank at the start", " " + std::string(size - 1, 'x')},
          {"words far apart", repeated(std::string(200, 'y') + " ", size)}};
}

TEST(AnyText, HasAnEarlyNeedleToFollow) {
  for (const int32_t length : {192, 256, 1024}) {
    for (const auto& [name, text] : odd_texts(static_cast<size_t>(length) + 1)) {
      DemoOptions options;
      options.text = text;
      options.length = length;
      const Example example = retention_example(options);
      EXPECT_GE(example.fact.begin, static_cast<size_t>(length) / 8) << name << length;
      EXPECT_LE(example.fact.end, static_cast<size_t>(length) / 3) << name << length;
      EXPECT_EQ(example.prompt.size() + example.answer.size(), static_cast<size_t>(length)) << name << length;
    }
  }
}

TEST(AnyText, HasAPromptOfTheSizeAskedFor) {
  for (const auto& [name, text] : odd_texts(300)) {
    for (const size_t size : {1U, 100U, 208U, 299U, 300U}) EXPECT_EQ(prompt_within(text, size).size(), size) << name;
  }
}

TEST(AnyText, PromptBeginsAtALineWhereOneBeginsEarlyEnough) {
  EXPECT_EQ(prompt_within("title\ncontents\nfirst words of it\n", 11), "first words");
  EXPECT_EQ(prompt_within("no line begins before the end\n", 20), "line begins before t");
}

TEST(AnyText, IsRefusedWhereNoNeedleCanLieEarly) {
  DemoOptions options;
  options.text = std::string(100, 'x');
  options.length = 64;
  EXPECT_THROW(retention_example(options), Error);
}

TEST(AnyText, GivesExamplesOfEveryTask) {
  for (const auto& [name, text] : odd_texts(600)) {
    const Ingredients ingredients{text, split_words(embedded_words())};
    for (const Task task : kTasks) {
      Random random(1);
      const Example example = make_example(random, task, ingredients, 512);
      EXPECT_EQ(example.prompt.size() + example.answer.size(), 512U) << name;
    }
  }
}

TEST(FewWords, AreRefused) {
  const std::string text(600, 'x');
  Random random(1);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{}, {"alone", "alone"}, {""}, {"two", "words"}}) {
    EXPECT_THROW(make_example(random, Task::common, {text, words}, 512), Error);
  }
}

TEST(Percent, HasTheDigitsOfTheShare) {
  EXPECT_EQ(percent(0.3), "30");
  EXPECT_EQ(percent(0.57), "57");
  EXPECT_EQ(percent(0.125), "12.5");
  EXPECT_EQ(percent(1.0), "100");
  EXPECT_NE(percent(0.304), percent(0.296));
}

}  // namespace
}  // namespace hashevict::cli
