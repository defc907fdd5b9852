// SPDX-License-Identifier: Apache-2.0
// Preset `recall` in `generate` and `replay`: the sources of its votes, and refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <hashevict/cache.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/votes.hpp"
#include "command.hpp"
#include "engine/embedded_model.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::test {
namespace {

using testing::HasSubstr;

constexpr const char* kModel = HASHEVICT_ASSETS "/tiny-llama";
constexpr const char* kVotes = HASHEVICT_ASSETS "/tiny-llama/recall.safetensors";
constexpr const char* kPrompt = "The window of a layer that recalls nothing may be short, and others get its slots.";

// The slots of each layer of the built-in model, with a mean of `mean`.
std::vector<int32_t> divided(int32_t mean, int64_t num_tokens) {
  Config config;
  config.shape.capacity = mean;
  const engine::ModelConfig model = engine::load_embedded_model().config();
  cli::Votes::embedded(model).divide(config, num_tokens);
  std::vector<int32_t> of_layers;  // the heads of a layer get the same
  for (size_t i = 0; i < config.shape.capacities.size(); i += static_cast<size_t>(model.num_kv_heads)) {
    of_layers.push_back(config.shape.capacities[i]);
  }
  return of_layers;
}

std::string joined(const std::vector<int32_t>& values, const std::string& separator) {
  std::string text;
  for (const int32_t value : values) text += (text.empty() ? "" : separator) + std::to_string(value);
  return text;
}

// Writes a copy of a file with a tensor of its own in place of what the file has under that name.
void write_changed(const engine::Safetensors& file, const std::string& path, const std::string& changed,
                   const std::vector<int64_t>& shape, const std::vector<float>& values) {
  engine::SafetensorsWriter writer;
  for (const auto& [name, tensor] : file.tensors()) {
    if (name != changed) writer.add(name, tensor.type, tensor.shape, tensor.bytes);
  }
  writer.add(changed, shape, values);
  writer.write(path);
}

int64_t num_tokens(const engine::Safetensors& trace) {
  return trace.at("layers.0.q").shape.at(0);
}

// A trace of the built-in model, under another rule than recall.
class Votes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<TemporaryFolder>();
    const CommandResult result = run_command({"generate", "--prompt", kPrompt, "--budget", "1.0", "--max-new-tokens",
                                              "16", "--save-trace", folder_->path("trace")});
    ASSERT_EQ(result.exit_code, 0) << result.errors;
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static CommandResult replay(const std::string& trace, const std::string& out, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"replay", "--trace", folder_->path(trace), "--out", folder_->path(out), "--preset", "recall"});
    return run_command(arguments);
  }

  static inline std::unique_ptr<TemporaryFolder> folder_;
};

TEST_F(Votes, GenerateTakesThoseOfTheBuiltInModel) {
  const CommandResult result = run_command({"generate", "--prompt", kPrompt, "--preset", "recall", "--budget", "40",
                                            "--max-new-tokens", "16", "--save-trace", folder_->path("recalled")});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto trace = engine::Safetensors::open(folder_->path("recalled"));
  const auto votes = engine::Safetensors::open(kVotes);
  for (const char* name : {"layers.0.projection", "layers.1.center"}) {
    EXPECT_TRUE(std::ranges::equal(trace.at(name).f32(), votes.at(name).f32())) << name;
  }
  EXPECT_THAT(result.output, HasSubstr(": " + joined(divided(40, num_tokens(trace) + 1), ", ") + "\n"));
}

TEST_F(Votes, GenerateOfAnotherModelNeedsItsOwn) {
  std::vector<std::string> arguments = {"generate", "--model", kModel,     "--tokens", "84,104,101,32,119",
                                        "--preset", "recall",  "--budget", "24",       "--max-new-tokens",
                                        "8"};
  expect_refused(run_command(arguments), "--preset recall needs --votes");
  arguments.insert(arguments.end(), {"--votes", kVotes});
  const CommandResult result = run_command(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.errors;
}

TEST_F(Votes, ReplayTakesTheFileAsIfTheTraceHadBroughtIt) {
  ASSERT_EQ(replay("trace", "by-file", {"--budget", "0.5", "--votes", kVotes}).exit_code, 0);
  const auto trace = engine::Safetensors::open(folder_->path("trace"));
  const auto votes = engine::Safetensors::open(kVotes);
  engine::SafetensorsWriter writer;
  for (const auto* file : {&trace, &votes}) {
    for (const auto& [name, tensor] : file->tensors()) {
      if (name.ends_with("share") || name.ends_with("reach")) continue;
      writer.add(name, tensor.type, tensor.shape, tensor.bytes);
    }
  }
  writer.write(folder_->path("with-votes"));
  const int64_t tokens = num_tokens(trace);
  const std::vector<int32_t> slots = divided(static_cast<int32_t>(tokens / 2), tokens);
  ASSERT_NE(slots.front(), slots.back()) << "divides nothing";
  const CommandResult result = replay("with-votes", "by-trace", {"--budget", joined(slots, ",")});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(read_text(folder_->path("by-file")), read_text(folder_->path("by-trace")));
}

TEST_F(Votes, ReplayTakesTheFileInPlaceOfTheTraces) {
  const auto trace = engine::Safetensors::open(folder_->path("trace"));
  const int64_t dim = trace.at("layers.0.k").shape.at(2);
  write_changed(trace, folder_->path("with-zeros"), "layers.0.projection", {64, dim},
                std::vector<float>(static_cast<size_t>(64 * dim)));
  ASSERT_EQ(replay("trace", "plain", {"--budget", "40", "--votes", kVotes}).exit_code, 0);
  const CommandResult result = replay("with-zeros", "replaced", {"--budget", "40", "--votes", kVotes});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(read_text(folder_->path("plain")), read_text(folder_->path("replaced")));
}

TEST_F(Votes, WhatTheFileReplacesNeedNotBeFinite) {
  const auto trace = engine::Safetensors::open(folder_->path("trace"));
  const int64_t dim = trace.at("layers.0.k").shape.at(2);
  write_changed(trace, folder_->path("with-nan"), "layers.0.projection", {32, dim},
                std::vector<float>(static_cast<size_t>(32 * dim), NAN));
  const CommandResult result = replay("with-nan", "of-votes", {"--budget", "40", "--votes", kVotes});
  EXPECT_EQ(result.exit_code, 0) << result.errors;
  expect_refused(replay("with-nan", "none", {"--budget", "40"}), "layers.0.projection: element [0, 0] is NaN");
}

TEST_F(Votes, ElementThatIsNotFiniteIsRefusedByPlaceAndValue) {
  const auto votes = engine::Safetensors::open(kVotes);
  for (const std::string part : {"projection", "center"}) {
    const std::string spoiled = "layers.1." + part;
    std::vector<float> values = votes.at(spoiled).to_floats();
    values[1] = -INFINITY;
    write_changed(votes, folder_->path("spoiled"), spoiled, votes.at(spoiled).shape, values);
    const std::string element = spoiled + (part == "center" ? ": element [0, 1] is " : ": element [0, 0, 1] is ");
    expect_refused(replay("trace", "none", {"--budget", "40", "--votes", folder_->path("spoiled")}),
                   element + "infinite (negative)");
    expect_refused(run_command({"generate", "--prompt", kPrompt, "--preset", "recall", "--budget", "40", "--votes",
                                folder_->path("spoiled")}),
                   element + "infinite (negative)");
  }
}

TEST_F(Votes, BudgetsOfLayersAreTakenAsTheyAre) {
  const std::vector<int32_t> even(divided(40, 99).size(), 40);
  ASSERT_EQ(replay("trace", "even", {"--budget", joined(even, ","), "--votes", kVotes}).exit_code, 0);
  const auto out = engine::Safetensors::open(folder_->path("even"));
  for (size_t i = 0; i < even.size(); ++i) {
    EXPECT_EQ(out.at("layers." + std::to_string(i) + ".positions").shape.at(1), 40) << "layer " << i;
  }
}

TEST_F(Votes, RecallWithoutAnythingLearnedIsRefused) {
  expect_refused(replay("trace", "none", {"--budget", "0.5"}), "--preset recall needs a learned projection");
}

TEST_F(Votes, ThoseThatTheRuleDoesNotTakeAreRefused) {
  for (const char* command : {"generate", "replay"}) {
    std::vector<std::string> arguments = {command, "--budget", "0.5", "--votes", kVotes};
    if (arguments.front() == "replay") {
      arguments.insert(arguments.end(), {"--trace", folder_->path("trace"), "--out", folder_->path("none")});
    }
    expect_refused(run_command(arguments), "--votes: expected --preset recall");
    arguments.insert(arguments.end(), {"--preset", "recall", "--bits", "16"});
    expect_refused(run_command(arguments), "--bits = 16: expected 32");
  }
}

TEST_F(Votes, FileThatHoldsNoneIsRefused) {
  expect_refused(replay("trace", "none", {"--budget", "0.5", "--votes", folder_->path("trace")}), "projection");
  expect_refused(replay("trace", "none", {"--budget", "0.5", "--votes", folder_->path("missing")}), "missing");
}

TEST_F(Votes, LayerWithTooFewSlotsIsRefusedByTheBudgetsName) {
  expect_refused(replay("trace", "none", {"--budget", "3", "--votes", kVotes}), "--budget: capacities[");
}

}  // namespace
}  // namespace hashevict::test
