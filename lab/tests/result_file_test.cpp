// SPDX-License-Identifier: Apache-2.0
// The evaluation continues an earlier run.
#include <filesystem>
#include <fstream>

#include "engine/refusal.hpp"
#include "engine/temporary_folder.hpp"
#include "eval/experiment.hpp"

namespace hashevict::lab {
namespace {

class ResultsOnDisk : public testing::Test {
 protected:
  std::string content() const {
    std::ifstream stream(path_);
    return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  }

  engine::TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "results.jsonl";
  static nlohmann::json line(const Measurement& measurement) { return to_json(measurement); }

  Measurement first_{Mode::known, "needle", 3, 1, "paper-32", 0.3, 0.5, 77};
  Measurement second_{Mode::known, "needle", 3, 2, "paper-32", 0.3, 1.0, 77};
};

TEST_F(ResultsOnDisk, WhatFollowsHalfALineIsReadAgain) {
  ResultFile(path_, "{}").add({line(first_)});
  std::ofstream(path_, std::ios::app) << "{\"mode\":\"str";
  ResultFile(path_, "{}").add({line(second_)});
  const ResultFile again(path_, "{}");
  EXPECT_TRUE(again.has(line(first_)));
  EXPECT_TRUE(again.has(line(second_)));
}

TEST_F(ResultsOnDisk, WholeLinesStayAsTheyWere) {
  ResultFile(path_, "{}").add({line(first_)});
  std::ofstream(path_, std::ios::app) << "{\"mode\":\"str";
  const ResultFile again(path_, "{}");
  EXPECT_EQ(content(), "{}\n" + line(first_).dump() + "\n");
}

TEST_F(ResultsOnDisk, LineWithoutAKeyIsRefused) {
  std::ofstream(path_) << "{}\n{\"mode\":\"known\"}\n";
  EXPECT_THROW(ResultFile(path_, "{}"), Error);
}

TEST_F(ResultsOnDisk, HalfOfTheFirstLineIsANewFile) {
  std::ofstream(path_) << "{\"len";
  ResultFile(path_, "{\"length\":1}").add({line(first_)});
  EXPECT_TRUE(ResultFile(path_, "{\"length\":1}").has(line(first_)));
}

TEST_F(ResultsOnDisk, FilesOfOthersAreLeftAlone) {
  for (const std::string other : {"no line at all", "another line\nand half of one"}) {
    std::ofstream(path_) << other;
    EXPECT_THROW(ResultFile(path_, "{}"), Error);
    EXPECT_EQ(content(), other);
  }
}

TEST_F(ResultsOnDisk, EverySettingOfAnExampleIsPartOfItsKey) {
  ResultFile(path_, "{}").add({line(first_)});
  const ResultFile file(path_, "{}");
  const auto has = [&](auto change) {
    Measurement other = first_;
    change(other);
    return file.has(line(other));
  };
  EXPECT_TRUE(has([](Measurement& m) { m.score = 0.0; }));
  EXPECT_FALSE(has([](Measurement& m) { m.mode = Mode::streamed; }));
  EXPECT_FALSE(has([](Measurement& m) { m.what = "map"; }));
  EXPECT_FALSE(has([](Measurement& m) { m.seed = 4; }));
  EXPECT_FALSE(has([](Measurement& m) { m.index = 0; }));
  EXPECT_FALSE(has([](Measurement& m) { m.policy = "paper-64"; }));
  EXPECT_FALSE(has([](Measurement& m) { m.budget = 0.31; }));
}

TEST(ResultFile, RefusesWhatIsThereButCannotBeRead) {
  const engine::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "loop";
  std::filesystem::create_symlink("loop", path);
  EXPECT_EQ(engine::refusal([&] { ResultFile(path, "{}"); }, Status::invalid_argument),
            "cannot read '" + path.string() + "'");
}

TEST(ResultFile, RefusesResultsOfOtherSettings) {
  const engine::TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "results.jsonl";
  ResultFile(path, "{\"length\":1}");
  EXPECT_THROW(ResultFile(path, "{\"length\":2}"), Error);
}

}  // namespace
}  // namespace hashevict::lab
