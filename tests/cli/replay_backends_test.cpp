// SPDX-License-Identifier: Apache-2.0
// A replay on CUDA agrees with one on the CPU: decisions bit by bit, attention up to rounding.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "cli/replay/replay.hpp"
#include "cli/replay_files.hpp"
#include "engine/temporary_folder.hpp"
#include "managed_memory_on_host.hpp"
#include "support/enum_name.hpp"

namespace hashevict::test {
namespace {

using cli::ReplayLayer;
using cli::ReplayOptions;
using cli::ReplayResult;
using cli::Trace;

constexpr std::size_t kTokens = 40;
constexpr uint32_t kSeed = 20;

Trace make_trace(DType dtype, bool own_projection = false) {
  const engine::TemporaryFolder folder;
  std::vector<TraceData> layers = draw_trace(trace_config(), kTokens, kSeed, dtype);
  if (own_projection) {
    for (TraceData& layer : layers) layer.projection = Inputs(kSeed + 1).floats(std::size_t{16} * 16);
  }
  const std::string path = (folder.path() / "trace").string();
  write_trace(path, trace_config(), layers, dtype);
  return Trace::open(path);  // a mapping outlives its name
}

ReplayOptions make_options(const std::string& budget) {
  ReplayOptions options;
  options.budgets = cli::parse_budgets(budget);
  options.config.rule = Rule{Preset::paper};
  options.config.rule.num_sink_tokens = 2;
  options.config.rule.recent_window = 3;
  return options;
}

ReplayResult replay_on(Backend backend, const Trace& trace, ReplayOptions options) {
  options.config.placement.backend = backend;
  return replay(trace, options);
}

void expect_same(const ReplayResult& a, const ReplayResult& b) {
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    SCOPED_TRACE("layer " + std::to_string(i));
    const ReplayLayer& x = a.layers[i];
    const ReplayLayer& y = b.layers[i];
    EXPECT_EQ(x.capacity, y.capacity);
    EXPECT_EQ(x.slots, y.slots);
    EXPECT_EQ(x.victims, y.victims);
    EXPECT_EQ(x.positions, y.positions);
    EXPECT_EQ(x.codes, y.codes);
    ASSERT_EQ(x.out.size(), y.out.size());
    for (std::size_t j = 0; j < x.out.size(); ++j) ASSERT_NEAR(x.out[j], y.out[j], 1e-5F) << "element " << j;
  }
}

void expect_backends_agree(const Trace& trace, const ReplayOptions& options) {
  expect_same(replay_on(Backend::cuda, trace, options), replay_on(Backend::cpu, trace, options));
}

/// The prompt's tokens and mode.
struct Prompt {
  int64_t tokens;
  PrefillMode mode;
};

void PrintTo(const Prompt& prompt, std::ostream* out) {
  *out << prompt.tokens << " tokens, " << testing::PrintToString(prompt.mode);
}

class ReplayBackends : public testing::TestWithParam<std::tuple<Policy, Prompt, std::string>> {};

TEST_P(ReplayBackends, Agree) {
  const auto& [policy, prompt, budget] = GetParam();
  ReplayOptions options = make_options(budget);
  options.config.rule.policy = policy;
  options.prompt = prompt.tokens;
  options.prefill_mode = prompt.mode;
  options.prefill_window = 5;
  expect_backends_agree(make_trace(DType::float32), options);
}

constexpr Prompt kPrompts[] = {{0, PrefillMode::replay},
                               {27, PrefillMode::replay},
                               {27, PrefillMode::window},
                               {static_cast<int64_t>(kTokens), PrefillMode::recent}};

std::string name_of(const testing::TestParamInfo<ReplayBackends::ParamType>& info) {
  const auto& [policy, prompt, budget] = info.param;
  return testing::PrintToString(policy) + "_" + (prompt.tokens == 0 ? "steps" : testing::PrintToString(prompt.mode)) +
         "_" + (budget == "12" ? "12Slots" : "Half");
}

INSTANTIATE_TEST_SUITE_P(Rules, ReplayBackends,
                         testing::Combine(testing::Values(Policy::hash, Policy::random, Policy::mean,
                                                          Policy::superseded),
                                          testing::ValuesIn(kPrompts), testing::Values("12", "0.5")),
                         name_of);

TEST(ReplayOnCuda, HalfPrecisionTraceGivesWhatTheCpuGives) {
  ReplayOptions options = make_options("12");
  options.prompt = 20;
  expect_backends_agree(make_trace(DType::bfloat16), options);
}

TEST(ReplayOnCuda, CentreOfThePromptGivesWhatTheCpuGives) {
  ReplayOptions options = make_options("12");
  options.prompt = 20;
  options.config.rule.centering = Centering::prompt;
  expect_backends_agree(make_trace(DType::float32), options);
}

TEST(ReplayOnCuda, ProjectionOfTheTraceGivesWhatTheCpuGives) {
  expect_backends_agree(make_trace(DType::float32, true), make_options("12"));
}

TEST(ReplayOnCuda, BudgetOfEachLayerGivesWhatTheCpuGives) {
  ReplayOptions options = make_options("12,21");
  options.prompt = 27;
  expect_backends_agree(make_trace(DType::float32), options);
}

TEST(ReplayOnCuda, AutomaticTakesTheDevice) {
  const Trace trace = make_trace(DType::float32);
  const uint64_t before = managed_bytes();
  const ReplayResult result = replay_on(Backend::automatic, trace, make_options("12"));
  EXPECT_GT(managed_bytes(), before);
  expect_same(result, replay_on(Backend::cpu, trace, make_options("12")));
}

TEST(ReplayOnCuda, AllThatTheDeviceReachesIsManaged) {
  const ReplayOptions options = make_options("12");
  Config config = trace_config();
  config.rule.num_sink_tokens = options.config.rule.num_sink_tokens;
  config.rule.recent_window = options.config.rule.recent_window;
  config.placement.backend = Backend::cuda;
  config.shape.capacity = 12;
  config.execution.max_batch_tokens = kTokens;
  const uint64_t of_the_cache = Cache::required_bytes(config).total;
  const uint64_t qkv_and_out = kTokens * 16 * (4 + 2 + 2 + 4) * sizeof(float);
  const uint64_t slots_and_victims = kTokens * 2 * 2 * sizeof(int32_t);
  const uint64_t offsets = 2 * sizeof(int32_t);
  const uint64_t before = managed_bytes();
  replay_on(Backend::cuda, make_trace(DType::float32), options);
  EXPECT_EQ(managed_bytes() - before, of_the_cache + qkv_and_out + slots_and_victims + offsets);
}

TEST(ReplayOnCuda, CpuUsesNoManagedMemory) {
  const uint64_t before = managed_bytes();
  replay_on(Backend::cpu, make_trace(DType::float32), make_options("12"));
  EXPECT_EQ(managed_bytes(), before);
}

}  // namespace
}  // namespace hashevict::test
