// SPDX-License-Identifier: Apache-2.0
// Importances in the trace of `hashevict replay`: those that are refused, and the policy that needs them.
// replay_oracle_test.cpp compares its results with the oracle.
#include <gtest/gtest.h>

#include <limits>
#include <map>

#include "command.hpp"
#include "replay_files.hpp"

namespace hashevict::test {
namespace {

constexpr int64_t kTokens = 40;

struct Added {
  std::vector<int64_t> shape;
  float value = 0.5F;
};
using Tensors = std::map<std::string, Added>;  ///< by name

/// Writes a trace of two layers and these tensors.
void write_trace_with(const std::string& path, const Tensors& added) {
  const std::vector<TraceData> layers = draw_trace(trace_config(), kTokens, 9, DType::float32);
  engine::SafetensorsWriter writer;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".";
    writer.add(prefix + "q", {kTokens, 4, 16}, std::span(layers[i].tokens.q));
    writer.add(prefix + "k", {kTokens, 2, 16}, std::span(layers[i].tokens.k));
    writer.add(prefix + "v", {kTokens, 2, 16}, std::span(layers[i].tokens.v));
  }
  std::vector<std::vector<float>> kept;  // until the file is written
  kept.reserve(added.size());
  for (const auto& [name, tensor] : added) {
    std::size_t size = 1;
    for (const int64_t extent : tensor.shape) size *= static_cast<std::size_t>(extent);
    kept.emplace_back(size, tensor.value);
    writer.add(name, std::vector<int64_t>(tensor.shape), std::span(kept.back()));
  }
  writer.write(path);
}

CommandResult replay(const TemporaryFolder& folder, const std::string& policy) {
  return run_command(
      {"replay", "--trace", folder.path("trace"), "--out", folder.path("out"), "--budget", "20", "--policy", policy});
}

struct Refused {
  std::string name;
  Tensors added;
  std::string expected;  ///< what the message must name
  friend void PrintTo(const Refused& row, std::ostream* stream) { *stream << row.name; }
};

const Added kOfTokens{{kTokens, 2}};
const Added kWeight{{2, 16}};
const Added kBias{{2}};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const Refused kRefusedByEveryPolicy[] = {
    {"OtherTokens",
     {{"layers.0.importance", {{kTokens - 1, 2}}}},
     "layers.0.importance has shape [39, 2]; expected [40, 2]"},
    {"OtherHeads",
     {{"layers.1.importance", {{kTokens, 4}}}},
     "layers.1.importance has shape [40, 4]; expected [40, 2]"},
    {"NotANumber", {{"layers.0.importance", {{kTokens, 2}, kNan}}}, "layers.0.importance: element [0, 0] is NaN"},
    {"InfiniteSlope",
     {{"layers.1.importance_slope", {{kTokens, 2}, kInfinity}}},
     "layers.1.importance_slope: element [0, 0] is infinite"},
    {"WeightOfOtherShape",
     {{"layers.0.importance.weight", {{2, 8}}}, {"layers.0.importance.bias", kBias}},
     "layers.0.importance.weight has shape [2, 8]; expected [2, 16]"},
    {"BiasOfOtherShape",
     {{"layers.0.importance.weight", kWeight}, {"layers.0.importance.bias", {{4}}}},
     "layers.0.importance.bias has shape [4]; expected [2]"},
    {"WeightAlone", {{"layers.0.importance.weight", kWeight}}, "layers.0.importance.weight stands alone"},
    {"BiasAlone", {{"layers.1.importance.bias", kBias}}, "layers.1.importance.bias stands alone"},
    {"Both",
     {{"layers.0.importance", kOfTokens}, {"layers.0.importance.weight", kWeight}, {"layers.0.importance.bias", kBias}},
     "layers.0.importance.weight beside importance; expected one of the two"},
    {"Misspelled", {{"layers.0.importance.weights", kWeight}}, "unknown tensor \"layers.0.importance.weights\""},
};

const Refused kRefusedByTheirPolicy[] = {
    {"Missing", {}, "expected layers.0.importance, or layers.0.importance.weight and layers.0.importance.bias"},
    {"MissingInOneLayer", {{"layers.0.importance", kOfTokens}}, "expected layers.1.importance, or"},
    {"SlopesAlone",
     {{"layers.0.importance_slope", kOfTokens}, {"layers.1.importance_slope", kOfTokens}},
     "expected layers.0.importance, or"},
    {"SlopesInOneLayer",
     {{"layers.0.importance", kOfTokens}, {"layers.1.importance", kOfTokens}, {"layers.1.importance_slope", kOfTokens}},
     "layer 1 of the trace brings other tensors of importances than layer 0"},
    {"TwoKinds",
     {{"layers.0.importance", kOfTokens}, {"layers.1.importance.weight", kWeight}, {"layers.1.importance.bias", kBias}},
     "layer 1 of the trace brings other tensors of importances than layer 0"},
};

class TraceWithImportances : public testing::TestWithParam<Refused> {};
class PolicyImportance : public testing::TestWithParam<Refused> {};

TEST_P(TraceWithImportances, IsRefusedByEveryPolicy) {
  const TemporaryFolder folder;
  write_trace_with(folder.path("trace"), GetParam().added);
  for (const char* policy : {"hash", "importance"}) expect_refused(replay(folder, policy), GetParam().expected);
  EXPECT_EQ(folder.files(), std::vector<std::string>{"trace"});
}

TEST_P(PolicyImportance, RefusesATraceThatOthersTake) {
  const TemporaryFolder folder;
  write_trace_with(folder.path("trace"), GetParam().added);
  expect_refused(replay(folder, "importance"), GetParam().expected);
  EXPECT_EQ(folder.files(), std::vector<std::string>{"trace"});
  EXPECT_EQ(replay(folder, "window").exit_code, 0);
}

constexpr auto kNameOfRow = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(Replay, TraceWithImportances, testing::ValuesIn(kRefusedByEveryPolicy), kNameOfRow);
INSTANTIATE_TEST_SUITE_P(Replay, PolicyImportance, testing::ValuesIn(kRefusedByTheirPolicy), kNameOfRow);

}  // namespace
}  // namespace hashevict::test
