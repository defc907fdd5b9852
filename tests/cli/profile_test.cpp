// SPDX-License-Identifier: Apache-2.0
// Profiles in `generate`, `replay` and `info`: what they divide and teach, and what is refused.
// replay_budgets_test.cpp compares replays with the oracle.
#include "cli/profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <numeric>

#include "command.hpp"
#include "engine/embedded_model.hpp"
#include "profile_files.hpp"
#include "replay_files.hpp"

namespace hashevict::test {
namespace {

using testing::HasSubstr;

constexpr std::size_t kTokens = 80;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

class ProfileFile : public testing::Test {
 protected:
  ProfileFile() {
    write_trace(path("trace"), trace_config(), draw_trace(trace_config(), kTokens, 5, DType::float32), DType::float32);
    write_tensors(path("profile"), tensors_);
  }

  std::string path(const std::string& name) const { return folder_.path(name); }

  CommandResult replay(std::vector<std::string> arguments, const std::string& out = "out",
                       const std::string& trace = "trace") const {
    arguments.insert(arguments.begin(), {"replay", "--trace", path(trace), "--out", path(out)});
    return run_command(arguments);
  }

  TemporaryFolder folder_;
  FloatTensors tensors_ = draw_profile(trace_config(), 9, 21);
};

struct WrongProfile {
  std::string name;
  std::function<void(FloatTensors& tensors)> spoil;
  std::string expected;
  friend void PrintTo(const WrongProfile& row, std::ostream* stream) { *stream << row.name; }
};

const WrongProfile kWrong[] = {
    {"LayerMissing", [](auto& t) { t.erase("layers.1.quantiles"); }, "layers.1.quantiles is missing"},
    {"Gap", [](auto& t) { t["layers.3.quantiles"] = t["layers.0.quantiles"]; }, "layer 2 is missing; the next is 3"},
    {"TooManyLayers", [](auto& t) { t["layers.2.quantiles"] = t["layers.0.quantiles"]; },
     "holds 3 layers; expected 2, those of the model"},
    {"OtherHeads",
     [](auto& t) {
       t["layers.0.quantiles"] = filled({3, 9});
     },
     "layers.0.quantiles has shape [3, 9]; expected [2, Q] with 2 or more quantiles of each KV head"},
    {"OneQuantile",
     [](auto& t) {
       t["layers.1.quantiles"] = filled({2, 1});
     },
     "layers.1.quantiles has shape [2, 1]; expected [2, Q] with 2 or more"},
    {"OtherRank", [](auto& t) { t["layers.0.quantiles"] = filled({18}); },
     "layers.0.quantiles has shape [18]; expected [2, Q]"},
    {"OtherNumberInOneLayer",
     [](auto& t) {
       t["layers.1.quantiles"] = filled({2, 8});
     },
     "layers.1.quantiles has shape [2, 8]; expected [2, 9]"},
    {"NotAscending",
     [](auto& t) {
       t["layers.1.quantiles"] = filled({2, 9});
       t["layers.1.quantiles"].values[13] = 0.25F;
     },
     "layers.1.quantiles: element [1, 4] is 0.25, below 0.5 before it; expected ascending quantiles"},
    {"NotFinite", [](auto& t) { t["layers.0.quantiles"].values[10] = kNan; },
     "layers.0.quantiles: element [1, 1] is NaN"},
    {"UnknownPart",
     [](auto& t) {
       t["layers.0.quantile"] = filled({2, 9});
     },
     "unknown tensor \"layers.0.quantile\"; expected layers.<i>.quantiles, .projection, .center, .importance.weight, "
     ".importance.bias, .importance.hidden_weight or .importance.hidden_bias"},
    {"UnknownTensor", [](auto& t) { t["metadata"] = filled({1}); }, "unknown tensor \"metadata\""},
    {"WeightAlone",
     [](auto& t) {
       t["layers.0.importance.weight"] = filled({2, 16});
     },
     "layers.0.importance.weight stands alone"},
    {"WeightsOfOneLayer",
     [](auto& t) {
       t["layers.0.importance.weight"] = filled({2, 16});
       t["layers.0.importance.bias"] = filled({2});
     },
     "layers.1.importance.weight is missing; expected it, since the file has layers.0.importance.weight"},
    {"WeightsOfAnotherLayer",
     [](auto& t) {
       t["layers.1.importance.weight"] = filled({2, 16});
       t["layers.1.importance.bias"] = filled({2});
     },
     "layers.0.importance.weight is missing; expected it, since the file has layers.1.importance.weight"},
    {"WeightOfAnotherModel",
     [](auto& t) {
       t["layers.0.importance.weight"] = filled({2, 64});
       t["layers.0.importance.bias"] = filled({2});
     },
     "layers.0.importance.weight has shape [2, 64]; expected [2, 16]"},
    {"ProjectionOfAnotherModel",
     [](auto& t) {
       t["layers.0.projection"] = filled({3, 32, 16});
     },
     "layers.0.projection has shape [3, 32, 16]; expected [hash_bits, 16] or [2, hash_bits, 16]"},
    {"CenterAlone",
     [](auto& t) {
       t["layers.0.center"] = filled({2, 16});
     },
     "layers.0.center stands alone; expected layers.0.projection with it"},
};

class WrongProfiles : public ProfileFile, public testing::WithParamInterface<WrongProfile> {};

TEST_P(WrongProfiles, AreRefusedByFileAndTensor) {
  GetParam().spoil(tensors_);
  write_tensors(path("wrong"), tensors_);
  const CommandResult result = replay({"--budget", "0.6", "--profile", path("wrong")});
  expect_refused(result, GetParam().expected);
  EXPECT_THAT(result.errors, HasSubstr(path("wrong") + ": "));
  EXPECT_EQ(folder_.files(), (std::vector<std::string>{"profile", "trace", "wrong"}));
}

INSTANTIATE_TEST_SUITE_P(Profile, WrongProfiles, testing::ValuesIn(kWrong),
                         [](const auto& info) { return info.param.name; });

TEST_F(ProfileFile, OfOtherElementsIsRefused) {
  engine::SafetensorsWriter writer;
  const std::vector<int32_t> whole(18, 1);
  for (const char* layer : {"0", "1"}) {
    writer.add(std::string("layers.") + layer + ".quantiles", {2, 9}, std::span(whole));
  }
  writer.write(path("whole"));
  expect_refused(replay({"--budget", "0.6", "--profile", path("whole")}), "layers.0.quantiles is I32; expected F32");
}

TEST_F(ProfileFile, ThatIsNoneIsRefused) {
  write_text(path("text"), "quantiles\n");
  expect_refused(replay({"--budget", "0.6", "--profile", path("text")}), path("text"));
  expect_refused(replay({"--budget", "0.6", "--profile", path("absent")}), path("absent"));
  expect_refused(replay({"--budget", "0.6", "--profile", path("trace")}), "unknown tensor \"layers.0.k\"");
}

TEST_F(ProfileFile, ArgumentsThatDoNotFitAreRefused) {
  const std::string profile = path("profile");
  expect_refused(replay({"--budget", "50,60", "--profile", profile}),
                 "--budget: 2 budgets beside --profile; expected one, the mean over the heads");
  expect_refused(replay({"--budget", "39", "--floor", "40", "--profile", profile}),
                 "--budget: a mean of 39 slots; expected at least 40, the --floor of every head");
  expect_refused(replay({"--budget", "14", "--floor", "3", "--profile", profile}),
                 "--budget: a mean of 14 slots; expected at least 15, which the rule needs in every head");
  expect_refused(replay({"--budget", "50", "--floor", "20"}), "--profile");
  expect_refused(replay({"--budget", "50", "--floor=-1", "--profile", profile}), "--floor");
}

TEST_F(ProfileFile, TaughtRuleMustFitItsProjections) {
  for (const char* layer : {"0", "1"}) {
    tensors_[std::string("layers.") + layer + ".projection"] = filled({2, 32, 16});
    tensors_[std::string("layers.") + layer + ".center"] = filled({2, 16});
  }
  write_tensors(path("votes"), tensors_);
  const auto refused = [&](std::vector<std::string> arguments, const std::string& expected) {
    arguments.insert(arguments.end(), {"--budget", "0.6", "--profile", path("votes")});
    expect_refused(replay(arguments), expected);
  };
  refused({"--preset", "recall", "--bits", "64"},
          "--bits = 64: expected 32, as many as the profile's projections have");
  refused({"--policy", "votes", "--bits", "32"}, "--centering: expected 'fixed'");
  refused({"--preset", "recall", "--votes", path("votes")}, "--votes beside --profile");
  EXPECT_EQ(replay({"--budget", "0.6", "--profile", path("votes")}).exit_code, 0) << "another rule reads no votes";
}

TEST_F(ProfileFile, OutputIsNeverTheProfile) {
  expect_refused(replay({"--budget", "0.6", "--profile", path("profile")}, "profile"), path("profile"));
}

TEST_F(ProfileFile, FloorIsRaisedToTheRulesNeedAndLoweredToTheTokens) {
  const auto slots = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments = {"--profile", path("profile")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = replay(arguments);
    EXPECT_EQ(result.exit_code, 0) << result.errors;
    return result.output;
  };
  const auto expected = [&](int32_t mean, int32_t floor) {
    const std::vector<int32_t> by_hand = divided_by_hand(tensors_, trace_config(), 4 * int64_t{mean}, 80, floor);
    const auto of_layer = [&](std::size_t i) {
      const std::string first = std::to_string(by_hand[2 * i]);
      return by_hand[2 * i] == by_hand[2 * i + 1] ? first : first + "/" + std::to_string(by_hand[2 * i + 1]);
    };
    return HasSubstr(" " + of_layer(0) + ", " + of_layer(1) + " slots");
  };
  EXPECT_THAT(slots({"--budget", "60"}), expected(60, 20)) << "a third of the mean";
  EXPECT_THAT(slots({"--budget", "30"}), expected(30, 15)) << "a third of the mean is too few for the rule";
  EXPECT_THAT(slots({"--budget", "50", "--floor", "3"}), expected(50, 15)) << "4 sinks, 10 recent, 1 more";
  EXPECT_THAT(slots({"--budget", "50", "--floor", "3", "--sink", "0", "--recent", "0.5"}), expected(50, 3));
  EXPECT_THAT(slots({"--budget", "300", "--floor", "200"}), expected(80, 80));
}

// The division, the weights and their effect: as if the trace and --budget said the same.
TEST_F(ProfileFile, ReplayIsThatOfItsWeightsAndCapacities) {
  std::vector<TraceData> layers = draw_trace(trace_config(), kTokens, 5, DType::float32);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".importance";
    layers[i].importance_weight = Inputs(static_cast<uint32_t>(70 + i)).floats(32);
    layers[i].importance_bias = {0.25F, -0.5F};
    tensors_[prefix + ".weight"] = {{2, 16}, layers[i].importance_weight};
    tensors_[prefix + ".bias"] = {{2}, layers[i].importance_bias};
  }
  write_tensors(path("taught"), tensors_);
  write_trace(path("trace-with-weights"), trace_config(), layers, DType::float32);
  const std::vector<int32_t> by_hand = divided_by_hand(tensors_, trace_config(), 4 * 44, kTokens, 15);
  std::string list;
  for (const int32_t slots : by_hand) list += (list.empty() ? "" : ",") + std::to_string(slots);
  const std::vector<std::string> rule = {"--policy", "importance"};
  auto with = rule;
  with.insert(with.end(), {"--budget", "0.55", "--profile", path("taught")});
  auto without = rule;
  without.insert(without.end(), {"--budget", list});
  ASSERT_EQ(replay(with, "a").exit_code, 0);
  const CommandResult said = replay(without, "b", "trace-with-weights");
  ASSERT_EQ(said.exit_code, 0) << said.errors;
  EXPECT_EQ(read_text(path("a")), read_text(path("b")));
}

TEST_F(ProfileFile, WeightsOfHiddenStatesArePassedOver) {
  for (const char* layer : {"0", "1"}) {
    tensors_[std::string("layers.") + layer + ".importance.hidden_weight"] = filled({2, 48});
    tensors_[std::string("layers.") + layer + ".importance.hidden_bias"] = filled({2});
  }
  write_tensors(path("hidden"), tensors_);
  ASSERT_EQ(replay({"--budget", "0.6", "--profile", path("profile")}, "a").exit_code, 0);
  const CommandResult said = replay({"--budget", "0.6", "--profile", path("hidden")}, "b");
  ASSERT_EQ(said.exit_code, 0) << said.errors;
  EXPECT_EQ(read_text(path("a")), read_text(path("b")));
}

// For the built-in model.
class ProfileOfTheModel : public testing::Test {
 protected:
  ProfileOfTheModel() : model_(engine::load_embedded_model().config()) {
    shape_.shape.num_layers = model_.num_layers;
    shape_.shape.num_kv_heads = model_.num_kv_heads;
    tensors_ = draw_profile(shape_, 9, 33);
    write_tensors(folder_.path("profile"), tensors_);
  }

  CommandResult generate(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"generate", "--tokens", tokens_, "--max-new-tokens", "10"});
    return run_command(arguments);
  }

  engine::ModelConfig model_;
  Config shape_;
  FloatTensors tensors_;
  TemporaryFolder folder_;
  std::string tokens_ = [] {
    std::string text = "65";
    for (int i = 1; i < 90; ++i) text += "," + std::to_string(65 + i * 7 % 50);
    return text;
  }();
};

TEST_F(ProfileOfTheModel, DividesTheBudgetOfGenerate) {
  const CommandResult result = generate({"--budget", "0.5", "--profile", folder_.path("profile")});
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const int64_t heads = int64_t{model_.num_layers} * model_.num_kv_heads;
  const std::vector<int32_t> by_hand = divided_by_hand(tensors_, shape_, 50 * heads, 100, 16);
  std::string expected = "slots by layer and head, as the profile divides them: ";
  for (std::size_t i = 0; i < by_hand.size(); ++i) {
    if (i > 0) expected += i % static_cast<std::size_t>(model_.num_kv_heads) == 0 ? ", " : "/";
    expected += std::to_string(by_hand[i]);
  }
  EXPECT_THAT(result.output, HasSubstr(expected + "\n"));
}

TEST_F(ProfileOfTheModel, GenerateTakesBudgetsOfHeadsWithoutOne) {
  std::string list = "41";
  for (int32_t i = 1; i < model_.num_layers * model_.num_kv_heads; ++i) list += ",41";
  const CommandResult listed = generate({"--budget", list});
  const CommandResult one = generate({"--budget", "41"});
  ASSERT_EQ(listed.exit_code, 0) << listed.errors;
  EXPECT_EQ(listed.output, one.output);
  expect_refused(generate({"--budget", list + ",41"}), "budgets: expected one, or ");
}

TEST_F(ProfileOfTheModel, GenerateEvictsByItsWeightsAndRecordsThem) {
  for (int32_t i = 0; i < model_.num_layers; ++i) {
    const std::string prefix = "layers." + std::to_string(i) + ".importance";
    tensors_[prefix + ".weight"] = {
        {model_.num_kv_heads, model_.head_dim},
        Inputs(9).floats(static_cast<std::size_t>(model_.num_kv_heads) * static_cast<std::size_t>(model_.head_dim))};
    tensors_[prefix + ".bias"] = filled({model_.num_kv_heads}, 0.0F);
  }
  write_tensors(folder_.path("taught"), tensors_);
  const std::vector<std::string> options = {"--budget", "0.5", "--policy", "importance"};
  auto arguments = options;
  expect_refused(generate(options), "--policy importance: expected a --profile with weights");
  arguments.insert(arguments.end(), {"--profile", folder_.path("profile")});
  expect_refused(generate(arguments), "layers.0.importance.weight is missing");
  arguments.back() = folder_.path("taught");
  arguments.insert(arguments.end(), {"--save-trace", folder_.path("trace")});
  const CommandResult result = generate(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  const auto trace = engine::Safetensors::open(folder_.path("trace"));
  EXPECT_EQ(trace.at("layers.1.importance.weight").to_floats(), tensors_["layers.1.importance.weight"].values);
}

TEST_F(ProfileOfTheModel, OfAnotherModelIsRefused) {
  write_tensors(folder_.path("other"), draw_profile(trace_config(), 9, 1));
  expect_refused(generate({"--budget", "0.5", "--profile", folder_.path("other")}), folder_.path("other"));
}

TEST(LeastCapacity, HoldsTheProtectedSlotsAndOneMore) {
  Rule rule{Preset::paper};
  EXPECT_EQ(cli::least_capacity(rule, 1000), 15);
  rule.recent_fraction = 0.5F;
  EXPECT_EQ(cli::least_capacity(rule, 1000), 9);
  rule.sink_fraction = 0.25F;
  EXPECT_EQ(cli::least_capacity(rule, 1000), 1);
  rule.sink_fraction = 0.5F;
  rule.num_sink_tokens = 0;
  rule.recent_fraction = -1.0F;
  rule.recent_window = 600;
  EXPECT_EQ(cli::least_capacity(rule, 1000), 1000) << "no smaller number will do";
}

}  // namespace
}  // namespace hashevict::test
