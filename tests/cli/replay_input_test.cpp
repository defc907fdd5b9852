// SPDX-License-Identifier: Apache-2.0
// Inputs that `hashevict replay` refuses: exit code 2, one clear line, no output file.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <functional>
#include <hashevict/cache.hpp>
#include <limits>
#include <utility>

#include "command.hpp"
#include "replay_files.hpp"

namespace hashevict::test {
namespace {

constexpr std::size_t kTokens = 40;

// Runs replay with these arguments on the trace that `write` makes.
CommandResult replay(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"replay", "--trace", folder.path("trace"), "--out", folder.path("out")});
  return run_command(arguments);
}

std::vector<std::string> good_arguments() {
  return {"--budget", "20", "--bits", "16"};
}

class Files {
 public:
  Files() {
    write_trace(folder.path("trace"), trace_config(), draw_trace(trace_config(), kTokens, 5, DType::float32),
                DType::float32);
  }
  TemporaryFolder folder;
};

struct BadArguments {
  std::string name;
  std::vector<std::string> arguments;
  std::string expected;  ///< what the message must name
};

void PrintTo(const BadArguments& c, std::ostream* stream) {
  *stream << c.name;
}

class ReplayArguments : public testing::TestWithParam<BadArguments> {};

// Every case also has `--bits 16`, and `--budget 20` unless it tests the budget.
std::vector<std::string> completed(const BadArguments& c) {
  std::vector<std::string> arguments = c.arguments;
  const auto is_given = [&](const std::string& option) {
    return std::any_of(arguments.begin(), arguments.end(), [&](const auto& a) { return a.starts_with(option); });
  };
  if (!is_given("--bits")) arguments.insert(arguments.end(), {"--bits", "16"});
  if (!is_given("--budget") && c.name != "BudgetMissing") arguments.insert(arguments.end(), {"--budget", "20"});
  return arguments;
}

TEST_P(ReplayArguments, AreRefusedWithOneLineAndNoFile) {
  const Files files;
  expect_refused(replay(files.folder, completed(GetParam())), GetParam().expected);
  EXPECT_EQ(files.folder.files(), std::vector<std::string>{"trace"});
}

const BadArguments kBadArguments[] = {
    {"BudgetBelowProtectedZones", {"--budget", "14"}, "--budget: capacity = 14"},
    {"FractionBelowProtectedZones", {"--budget", "0.1"}, "--budget: capacity = 4"},
    {"SinkAboveBudget", {"--sink", "12"}, "20"},
    {"BudgetZero", {"--budget", "0"}, "budget"},
    {"BudgetNegative", {"--budget=-5"}, "budget"},
    {"BudgetFractionAboveOne", {"--budget", "1.5"}, "1.5"},
    {"BudgetFractionZero", {"--budget", "0.0"}, "0.0"},
    {"BudgetNoNumber", {"--budget", "many"}, "many"},
    {"BudgetNan", {"--budget", "nan."}, "nan."},
    {"BudgetTooLargeForAnyMemory", {"--budget", "2147483647"}, "2147483647"},
    {"BudgetForTooFewLayers", {"--budget", "20,20,20,20,20"}, "one a layer"},
    {"BudgetOfOneLayerMissing", {"--budget", "20,"}, "budget"},
    {"BudgetMissing", {}, "--budget"},
    {"BitsNotAvailable", {"--budget", "20", "--bits", "12"}, "--bits = 12"},
    {"BitsNoNumber", {"--budget", "20", "--bits", "few"}, "--bits"},
    {"UnknownPolicy", {"--policy", "best"}, "best"},
    {"UnknownHashSource", {"--hash-source", "value"}, "value"},
    {"UnknownTie", {"--tie", "newest"}, "newest"},
    {"UnknownPrefill", {"--prompt", "30", "--prefill", "all"}, "all"},
    {"UnknownPreset", {"--budget", "20", "--preset", "mine"}, "mine"},
    {"UnknownBackend", {"--backend", "tpu"}, "tpu"},
    {"UnknownCentering", {"--centering", "all"}, "all"},
    {"UnknownOption", {"--bytes", "2"}, "--bytes"},
    {"SinkNegative", {"--sink=-1"}, "--sink"},
    {"RecentNoNumber", {"--recent", "ten"}, "--recent"},
    {"PromptBeyondTheTrace", {"--prompt", "41"}, "41"},
    {"PromptNegative", {"--prompt=-1"}, "-1"},
    {"PrefillWindowZero", {"--prompt", "30", "--prefill", "window", "--prefill-window", "0"}, "window"},
    {"CenteringWithoutPrompt", {"--centering", "prompt"}, "prompt"},
    {"SeedNegative", {"--seed", "-1"}, "--seed = '-1': expected a whole number"},
    {"SeedNoNumber", {"--seed", "x"}, "--seed = 'x': expected a whole number"},
    {"SeedWithRest", {"--seed", "7seven"}, "from 0 to 18446744073709551615"},
    {"SeedTooLarge", {"--seed", "18446744073709551616"}, "18446744073709551616"},
    {"ThreadsNegative", {"--threads=-1"}, "--threads"},
};

INSTANTIATE_TEST_SUITE_P(Arguments, ReplayArguments, testing::ValuesIn(kBadArguments),
                         [](const auto& info) { return info.param.name; });

using engine::SafetensorsWriter;

struct Shape3 {
  int64_t tokens = kTokens, heads = 2, dim = 16;
  std::size_t size() const { return static_cast<std::size_t>(tokens * heads * dim); }
  std::vector<int64_t> list() const { return {tokens, heads, dim}; }
};

struct BadTrace {
  std::string name;
  std::function<void(const std::string& path)> write;
  std::string expected;
};

void PrintTo(const BadTrace& c, std::ostream* stream) {
  *stream << c.name;
}

// Writes a trace of one layer whose tensors have these shapes.
void write_shapes(const std::string& path, const Shape3& q, const Shape3& k, const Shape3& v,
                  const std::vector<std::string>& names = {"layers.0.q", "layers.0.k", "layers.0.v"}) {
  const std::vector<float> queries(q.size(), 0.5F);
  const std::vector<float> keys(k.size(), 0.25F);
  const std::vector<float> values(v.size(), 1.0F);
  SafetensorsWriter writer;
  writer.add(names.at(0), q.list(), std::span(queries));
  writer.add(names.at(1), k.list(), std::span(keys));
  writer.add(names.at(2), v.list(), std::span(values));
  writer.write(path);
}

// Writes a valid trace with more tensors of the same data.
void write_with(const std::string& path, const std::string& name, std::vector<int64_t> shape, float value = 0.5F) {
  const Shape3 shape3;
  const std::vector<float> data(shape3.size(), 0.5F);
  std::size_t size = 1;
  for (const int64_t extent : shape) size *= static_cast<std::size_t>(extent);
  const std::vector<float> extra(size, value);
  SafetensorsWriter writer;
  for (const char* part : {"layers.0.q", "layers.0.k", "layers.0.v"}) writer.add(part, shape3.list(), std::span(data));
  writer.add(name, std::move(shape), std::span(extra));
  writer.write(path);
}

void write_filled(const std::string& path, const std::string& which, float value) {
  const Shape3 shape;
  SafetensorsWriter writer;
  const std::vector<float> good(shape.size(), 0.5F);
  const std::vector<float> bad(shape.size(), value);
  for (const std::string part : {"q", "k", "v"}) {
    writer.add("layers.0." + part, shape.list(), std::span(part == which ? bad : good));
  }
  writer.write(path);
}

void write_mixed_types(const std::string& path) {
  const Shape3 shape;
  const std::vector<float> floats(shape.size(), 0.5F);
  const std::vector<std::byte> halves = encoded(floats, DType::float16);
  SafetensorsWriter writer;
  writer.add("layers.0.q", shape.list(), std::span(floats));
  writer.add("layers.0.k", engine::ElementType::f16, shape.list(), halves);
  writer.add("layers.0.v", shape.list(), std::span(floats));
  writer.write(path);
}

void write_integers(const std::string& path) {
  const Shape3 shape;
  const std::vector<int32_t> data(shape.size(), 1);
  SafetensorsWriter writer;
  for (const char* part : {"layers.0.q", "layers.0.k", "layers.0.v"}) writer.add(part, shape.list(), std::span(data));
  writer.write(path);
}

void write_truncated(const std::string& path, std::size_t size) {
  write_shapes(path, {}, {}, {});
  write_text(path, read_text(path).substr(0, size));
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

using Write = std::function<void(const std::string& path)>;

Write text(std::string content) {
  return [=](const std::string& path) { write_text(path, content); };
}
Write cut(std::size_t size) {
  return [=](const std::string& path) { write_truncated(path, size); };
}
Write shapes(Shape3 q, Shape3 k, Shape3 v) {
  return [=](const std::string& path) { write_shapes(path, q, k, v); };
}
Write names(std::vector<std::string> names) {
  return [=](const std::string& path) { write_shapes(path, {}, {}, {}, names); };
}
Write with(std::string name, std::vector<int64_t> shape, float value = 0.5F) {
  return [=](const std::string& path) { write_with(path, name, shape, value); };
}
Write filled(std::string part, float value) {
  return [=](const std::string& path) { write_filled(path, part, value); };
}

std::vector<BadTrace> bad_traces() {
  const Shape3 good, empty{0, 2, 16}, dim12{kTokens, 2, 12};
  return {
      {"Missing", [](const std::string&) {}, "trace"},
      {"Empty", text(""), "trace"},
      {"TruncatedInHeader", cut(40), "trace"},
      {"TruncatedInData", cut(4000), "trace"},
      {"NotSafetensors", text(std::string(1000, 'x')), "trace"},
      {"NoTensors", [](const std::string& path) { SafetensorsWriter().write(path); }, "no tensor"},
      {"UnknownName", with("layers.0.weights", {2}), "layers.0.weights"},
      {"MisspelledOptionalName", with("layers.0.projections", {16, 16}), "layers.0.projections"},
      {"NameWithoutLayer", with("layers.q", {2}), "layers.q"},
      {"NamesOfAModel", names({"model.layers.0.q", "model.layers.0.k", "model.layers.0.v"}), "no tensor of a layer"},
      {"LayerNumberWithZero", with("layers.01.q", {2}), "layers.01.q"},
      {"MissingValues", names({"layers.0.q", "layers.0.k", "layers.1.v"}), "layers.0.v"},
      {"LayersStartAtOne", names({"layers.1.q", "layers.1.k", "layers.1.v"}), "layer 0"},
      {"GapInLayers", with("layers.2.q", {kTokens, 2, 16}), "layer 1"},
      {"ZeroTokens", shapes(empty, empty, empty), "layers.0.q"},
      {"DifferentTokens", shapes(good, {kTokens - 1, 2, 16}, good), "layers.0.k"},
      {"DifferentHeadDim", shapes(good, {kTokens, 2, 8}, good), "layers.0.k"},
      {"ValuesUnlikeKeys", shapes(good, good, {kTokens, 1, 16}), "layers.0.v"},
      {"HeadsDoNotDivide", shapes({kTokens, 3, 16}, good, good), "layers.0.q"},
      {"HeadDimNotAMultipleOfEight", shapes(dim12, dim12, dim12), "12"},
      {"RankTwo", with("layers.1.q", {kTokens, 16}), "layers.1"},
      {"NanQueries", filled("q", kNan), "layers.0.q: element [0, 0, 0] is NaN"},
      {"NanKeys", filled("k", kNan), "layers.0.k: element [0, 0, 0] is NaN"},
      {"NanValues", filled("v", kNan), "layers.0.v: element [0, 0, 0] is NaN"},
      {"MixedTypes", write_mixed_types, "layers.0.k is F16"},
      {"Integers", write_integers, "I32"},
      {"ProjectionOfOtherBits", with("layers.0.projection", {8, 16}), "projection"},
      {"ProjectionOfOtherHeadDim", with("layers.0.projection", {16, 8}), "layers.0.projection"},
      {"ProjectionOfOtherHeads", with("layers.0.projection", {3, 16, 16}), "layers.0.projection"},
      {"CenterOfOtherShape", with("layers.0.center", {2, 8}), "layers.0.center"},
      {"CenterThatNobodyUses", with("layers.0.center", {2, 16}), "fixed"},
      {"ProjectionNan", with("layers.0.projection", {16, 16}, kNan), "layers.0.projection: element [0, 0] is NaN"},
      {"ProjectionInfinite", with("layers.0.projection", {2, 16, 16}, kInfinity),
       "layers.0.projection: element [0, 0, 0] is infinite"},
      {"CenterNan", with("layers.0.center", {2, 16}, kNan), "layers.0.center: element [0, 0] is NaN"},
  };
}

class ReplayTrace : public testing::TestWithParam<BadTrace> {};

TEST_P(ReplayTrace, IsRefusedWithOneLineAndNoFile) {
  const TemporaryFolder folder;
  GetParam().write(folder.path("trace"));
  const std::vector<std::string> before = folder.files();
  expect_refused(replay(folder, good_arguments()), GetParam().expected);
  EXPECT_EQ(folder.files(), before);
}

INSTANTIATE_TEST_SUITE_P(Traces, ReplayTrace, testing::ValuesIn(bad_traces()),
                         [](const auto& info) { return info.param.name; });

TEST(Replay, UnwritableOutputIsRefused) {
  const Files files;
  expect_refused(run_command({"replay", "--trace", files.folder.path("trace"), "--out",
                              files.folder.path("no/such/folder/out"), "--budget", "20", "--bits", "16"}),
                 "no/such/folder/out: cannot be written: its folder does not exist");
  EXPECT_EQ(files.folder.files(), std::vector<std::string>{"trace"});
}

TEST(Replay, OutputThatIsNoRegularFileIsRefusedBeforeAnythingIsRead) {
  const TemporaryFolder folder;  // without a trace
  ASSERT_EQ(::mkfifo(folder.path("out").c_str(), 0600), 0);
  expect_refused(replay(folder, good_arguments()), "not a regular file");
  EXPECT_TRUE(std::filesystem::is_fifo(folder.path("out")));
}

TEST(Replay, OutputOverTheTraceIsRefused) {
  const Files files;
  const std::string trace = read_text(files.folder.path("trace"));
  std::filesystem::create_symlink("trace", files.folder.path("link"));
  std::filesystem::create_hard_link(files.folder.path("trace"), files.folder.path("same"));
  for (const char* name : {"trace", "link", "same"}) {
    std::vector<std::string> arguments = {"replay", "--trace", files.folder.path("trace"), "--out",
                                          files.folder.path(name)};
    for (const std::string& argument : good_arguments()) arguments.push_back(argument);
    expect_refused(run_command(arguments), "is read as well");
  }
  EXPECT_EQ(read_text(files.folder.path("trace")), trace);
}

TEST(Replay, ExistingOutputStaysWhenTheTraceIsBad) {
  const TemporaryFolder folder;
  write_truncated(folder.path("trace"), 4000);
  write_text(folder.path("out"), "kept");
  expect_refused(replay(folder, good_arguments()), "trace");
  EXPECT_EQ(read_text(folder.path("out")), "kept");
}

TEST(Replay, CudaIsRefusedWhereTheBuildLacksIt) {
  if (Cache::capabilities(Backend::cpu).has_cuda_build != 0) GTEST_SKIP() << "this build has CUDA";
  const Files files;
  std::vector<std::string> arguments = good_arguments();
  arguments.insert(arguments.end(), {"--backend", "cuda"});
  expect_refused(replay(files.folder, arguments), "CUDA");
  EXPECT_EQ(files.folder.files(), std::vector<std::string>{"trace"});
}

// Writes a trace that is valid except for one element of the last layer's queries, keys or values: number 7 of head 1
// of token 3.
void write_spoiled(const std::string& path, DType dtype, std::vector<float> Tokens::*part, float value) {
  const Config config = trace_config();
  std::vector<TraceData> layers = draw_trace(config, kTokens, 9, dtype);
  const int32_t heads = part == &Tokens::q ? config.shape.num_qo_heads : config.shape.num_kv_heads;
  (layers.back().tokens.*part).at(static_cast<std::size_t>((3 * heads + 1) * config.shape.head_dim + 7)) = value;
  write_trace(path, config, layers, dtype);
}

TEST(Replay, ElementThatIsNotFiniteIsRefusedByPlaceAndValue) {
  const std::pair<std::string, std::vector<float> Tokens::*> parts[] = {
      {"q", &Tokens::q}, {"k", &Tokens::k}, {"v", &Tokens::v}};
  const std::pair<float, std::string> values[] = {
      {kNan, "NaN;"}, {kInfinity, "infinite;"}, {-kInfinity, "infinite (negative);"}};
  for (const DType dtype : {DType::float32, DType::float16, DType::bfloat16}) {
    for (const auto& [name, part] : parts) {
      for (const auto& [value, shown] : values) {
        const TemporaryFolder folder;
        write_spoiled(folder.path("trace"), dtype, part, value);
        expect_refused(replay(folder, good_arguments()), "layers.1." + name + ": element [3, 1, 7] is " + shown);
        EXPECT_EQ(folder.files(), std::vector<std::string>{"trace"});
      }
    }
  }
}

TEST(Replay, AttentionThatOverflowsIsAnErrorNotAResult) {
  const TemporaryFolder folder;
  const Shape3 shape;
  const std::vector<float> large(shape.size(), 3e38F);
  SafetensorsWriter writer;
  for (const char* part : {"layers.0.q", "layers.0.k", "layers.0.v"}) writer.add(part, shape.list(), std::span(large));
  writer.write(folder.path("trace"));
  expect_refused(replay(folder, good_arguments()), "layer 0, token 0: the attention is not finite");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"trace"});
}

TEST(Replay, TensorsOutsideOfLayersArePassedOver) {
  const TemporaryFolder folder;
  for (const char* name : {"model.layers.0.q", "lm_head.weight", "tokens"}) {
    write_with(folder.path("trace"), name, {2}, kNan);
    const CommandResult result = replay(folder, good_arguments());
    EXPECT_EQ(result.exit_code, 0) << result.errors;
  }
}

TEST(Replay, PromptOfModeReplayChangesNothingInTheFile) {
  const Files files;
  std::vector<std::string> arguments = good_arguments();
  ASSERT_EQ(replay(files.folder, arguments).exit_code, 0);
  const std::string steps = read_text(files.folder.path("out"));
  arguments.insert(arguments.end(), {"--prompt", "33", "--prefill", "replay"});
  ASSERT_EQ(replay(files.folder, arguments).exit_code, 0);
  EXPECT_EQ(read_text(files.folder.path("out")), steps);
}

TEST(Replay, ThreadsChangeNothingInTheFile) {
  const Files files;
  std::string first;
  for (const std::string threads : {"1", "2", "5"}) {
    std::vector<std::string> arguments = good_arguments();
    arguments.insert(arguments.end(), {"--threads", threads});
    ASSERT_EQ(replay(files.folder, arguments).exit_code, 0);
    if (first.empty()) first = read_text(files.folder.path("out"));
    EXPECT_EQ(read_text(files.folder.path("out")), first) << threads;
  }
}

TEST(Replay, LargestSeedIsTaken) {
  const Files files;
  std::vector<std::string> arguments = good_arguments();
  arguments.insert(arguments.end(), {"--policy", "random", "--seed", "18446744073709551615"});
  EXPECT_EQ(replay(files.folder, arguments).exit_code, 0);
}

TEST(Replay, FractionIsRoundedDown) {
  const Files files;
  ASSERT_EQ(replay(files.folder, {"--budget", "0.49", "--bits", "16"}).exit_code, 0);
  const auto file = engine::Safetensors::open(files.folder.path("out"));
  EXPECT_EQ(file.at("layers.0.positions").shape, (std::vector<int64_t>{2, 19}));
}

}  // namespace
}  // namespace hashevict::test
