// SPDX-License-Identifier: Apache-2.0
// `hashevict replay` against the oracle, through files, on traces drawn afresh for every case.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "cli/names.hpp"
#include "command.hpp"
#include "replay_files.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

struct Case {
  std::string name;
  std::vector<std::string> arguments;  ///< equivalent to the fields below
  Config config = trace_config();
  DType dtype = DType::float32;
  Flavour flavour = Flavour::normal;
  std::size_t num_tokens = 60;
  std::size_t prompt = 0;
  reference::PrefillMode mode = reference::PrefillMode::replay;
  int32_t window = 32;
  bool own_projection = false;
  bool own_center = false;
};

void PrintTo(const Case& c, std::ostream* stream) {
  *stream << c.name;
}

// Computes the expected contents of the file for one layer by the oracle.
struct Expected {
  reference::Taken taken;
  reference::Sequence sequence;
};

void append(reference::Taken& to, const reference::Taken& more) {
  to.slots.insert(to.slots.end(), more.slots.begin(), more.slots.end());
  to.victims.insert(to.victims.end(), more.victims.begin(), more.victims.end());
  to.attention.insert(to.attention.end(), more.attention.begin(), more.attention.end());
}

void set_learned(const Case& c, const TraceData& data, reference::Sequence& sequence) {
  const reference::Settings& settings = sequence.settings();
  for (std::size_t head = 0; head < settings.num_kv_heads && c.own_projection; ++head) {
    reference::Projection projection;
    const std::size_t first = c.config.rule.projection_per_head ? head * settings.hash_bits : 0;
    for (std::size_t bit = 0; bit < settings.hash_bits; ++bit) {
      projection.push_back(reference::row(data.projection, first + bit, settings.head_dim));
    }
    sequence.set_projection(head, projection);
  }
  for (std::size_t head = 0; head < data.importance_bias.size(); ++head) {
    sequence.set_importance_weights(head, reference::row(data.importance_weight, head, settings.head_dim),
                                    data.importance_bias[head]);
  }
  if (!c.own_center) return;
  const auto queries = static_cast<std::size_t>(c.config.shape.num_qo_heads) * settings.head_dim;
  sequence.set_center(data.center, reference::Vector(queries, 0.0F));
}

// Computes attention of the prompt's rows: of its steps in mode replay, else over the whole prompt.
std::vector<reference::Attention> prompt_attention(const Case& c, const reference::Sequence& prefilled,
                                                   const TraceData& data, const Tokens& prompt, int32_t layer) {
  std::vector<reference::Settings> heads = settings_of_heads(c.config, layer);
  for (reference::Settings& settings : heads) {
    if (c.mode != reference::PrefillMode::replay) {
      settings.capacity = c.prompt;
      settings.policy = reference::Policy::window;
      settings.num_sink_tokens = settings.recent_window = 0;
    }
    if (c.config.rule.centering == Centering::prompt) settings.centering = reference::Centering::none;
  }
  reference::Sequence steps(heads);
  set_learned(c, data, steps);
  if (c.config.rule.centering == Centering::prompt) {
    reference::Vector keys;
    reference::Vector queries;
    for (const reference::Head& head : prefilled.heads()) {
      keys.insert(keys.end(), head.key_center.begin(), head.key_center.end());
      for (const auto& center : head.query_centers) queries.insert(queries.end(), center.begin(), center.end());
    }
    steps.set_center(keys, queries);
  }
  return steps.decode(prompt, {}).attention;
}

Expected expect_layer(const Case& c, const TraceData& data, int32_t layer) {
  Expected expected{{}, reference::Sequence(settings_of_heads(c.config, layer))};
  set_learned(c, data, expected.sequence);
  if (c.prompt > 0) {
    const Tokens prompt = slice(c.config, data.tokens, 0, c.prompt);
    expected.taken = expected.sequence.prefill(prompt, c.mode, c.window);
    expected.taken.attention = prompt_attention(c, expected.sequence, data, prompt, layer);
  }
  const Tokens rest = slice(c.config, data.tokens, c.prompt, data.tokens.count - c.prompt);
  append(expected.taken, expected.sequence.decode(rest, {}));
  return expected;
}

template <class T>
std::vector<T> copy_of(std::span<const T> values) {
  return {values.begin(), values.end()};
}

void compare_state(const Case& c, const engine::Safetensors& file, const std::string& prefix,
                   const Expected& expected) {
  std::size_t capacity = 0;  // of the head that has most
  for (const reference::Head& head : expected.sequence.heads()) capacity = std::max(capacity, head.settings.capacity);
  const auto heads = static_cast<std::size_t>(c.config.shape.num_kv_heads);
  const auto code_bytes = static_cast<std::size_t>(c.config.rule.hash_bits) / 8;
  std::vector<int32_t> positions(heads * capacity, -1);
  std::vector<uint8_t> codes(heads * capacity * code_bytes, 0);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto& slots = expected.sequence.heads()[h].slots;
    for (std::size_t j = 0; j < slots.size(); ++j) {
      positions[h * capacity + j] = slots[j].position;
      std::memcpy(&codes[(h * capacity + j) * code_bytes], slots[j].code.data(), code_bytes);
    }
  }
  EXPECT_EQ(copy_of(file.at(prefix + "positions").i32()), positions);
  EXPECT_EQ(copy_of(file.at(prefix + "codes").u8()), codes);
}

void compare_out(const Case& c, const engine::StoredTensor& out, const Expected& expected) {
  const auto dim = static_cast<std::size_t>(c.config.shape.head_dim);
  ASSERT_EQ(out.shape, (std::vector<int64_t>{static_cast<int64_t>(c.num_tokens), c.config.shape.num_qo_heads,
                                             c.config.shape.head_dim}));
  for (std::size_t row = 0; row < expected.taken.attention.size(); ++row) {
    const reference::Attention& attention = expected.taken.attention[row];
    for (std::size_t e = 0; e < dim; ++e) {
      ASSERT_NEAR(out.f32()[row * dim + e], attention.out[e], attention_bound(attention, e, dim, 0.0, DType::float32))
          << "token " << row / static_cast<std::size_t>(c.config.shape.num_qo_heads) << ", element " << e;
    }
  }
}

void compare(const Case& c, const engine::Safetensors& file, const std::vector<TraceData>& layers) {
  EXPECT_EQ(file.tensors().size(), 5 * layers.size());
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    SCOPED_TRACE("layer " + std::to_string(layer));
    const Expected expected = expect_layer(c, layers[layer], static_cast<int32_t>(layer));
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const std::vector<int64_t> shape{static_cast<int64_t>(c.num_tokens), c.config.shape.num_kv_heads};
    EXPECT_EQ(file.at(prefix + "slots").shape, shape);
    EXPECT_EQ(file.at(prefix + "victims").shape, shape);
    EXPECT_EQ(copy_of(file.at(prefix + "slots").i32()), expected.taken.slots);
    EXPECT_EQ(copy_of(file.at(prefix + "victims").i32()), expected.taken.victims);
    compare_state(c, file, prefix, expected);
    compare_out(c, file.at(prefix + "out"), expected);
  }
}

// Every case has its own trace.
uint32_t trace_seed() {
  return static_cast<uint32_t>(std::hash<std::string>{}(testing::UnitTest::GetInstance()->current_test_info()->name()));
}

class ReplayOracle : public testing::TestWithParam<Case> {};

TEST_P(ReplayOracle, FileHoldsWhatTheOracleSays) {
  const Case& c = GetParam();
  const uint32_t seed = trace_seed();
  SCOPED_TRACE("trace seed " + std::to_string(seed));
  std::vector<TraceData> layers = draw_trace(c.config, c.num_tokens, seed, c.dtype, c.flavour);
  if (c.own_projection) {
    const auto size =
        static_cast<std::size_t>(c.config.rule.hash_bits) * static_cast<std::size_t>(c.config.shape.head_dim);
    const std::size_t heads = c.config.rule.projection_per_head ? 2 : 1;
    for (TraceData& layer : layers) layer.projection = Inputs(seed + 1).floats(heads * size);
  }
  if (c.own_center) {
    for (TraceData& layer : layers) layer.center = Inputs(seed + 2).floats(std::size_t{2} * 16);
  }
  if (c.config.rule.importance_source == ImportanceSource::key) {
    for (TraceData& layer : layers) {
      layer.importance_weight = Inputs(seed + 3).floats(std::size_t{2} * 16);
      layer.importance_bias = Inputs(seed + 4).floats(2);
    }
  }
  const TemporaryFolder folder;
  write_trace(folder.path("trace"), c.config, layers, c.dtype);
  std::vector<std::string> arguments = {"replay", "--trace", folder.path("trace"), "--out", folder.path("out")};
  arguments.insert(arguments.end(), c.arguments.begin(), c.arguments.end());
  const CommandResult result = run_command(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  compare(c, engine::Safetensors::open(folder.path("out")), layers);
}

Case make(std::string name, std::vector<std::string> arguments, int32_t capacity, int32_t bits) {
  Case c;
  c.name = std::move(name);
  c.arguments = std::move(arguments);
  c.config.shape.capacity = capacity;
  c.config.rule.hash_bits = bits;
  return c;
}

std::vector<Case> policies() {
  std::vector<Case> cases;
  for (const auto& [policy, value] : cli::Names<Policy>::kTable) {
    for (const int32_t bits : {8, 16, 32, 64, 128}) {
      Case c = make(std::string(policy) + std::to_string(bits),
                    {"--budget", "24", "--bits", std::to_string(bits), "--policy", std::string(policy)}, 24, bits);
      c.config.rule.policy = value;
      cases.push_back(c);
    }
  }
  return cases;
}

std::vector<Case> rules() {
  std::vector<Case> cases;
  for (const auto& [tie, tie_value] : cli::Names<Tie>::kTable) {
    for (const auto& [source, source_value] : cli::Names<HashSource>::kTable) {
      const std::string tie_name = tie == "oldest" ? "Oldest" : "LowestSlot";
      Case c = make(tie_name + "_" + std::string(source),
                    {"--budget=20", "--bits=8", "--tie", std::string(tie), "--hash-source", std::string(source),
                     "--sink", "2", "--recent", "3", "--seed", "77"},
                    20, 8);
      c.config.rule.tie = tie_value;
      c.config.rule.hash_source = source_value;
      c.config.rule.num_sink_tokens = 2;
      c.config.rule.recent_window = 3;
      c.config.rule.seed = 77;
      c.flavour = Flavour::repeated;
      cases.push_back(c);
    }
  }
  return cases;
}

std::vector<Case> prefills() {
  std::vector<Case> cases;
  for (const auto& [mode, value] : cli::Names<PrefillMode>::kTable) {
    for (const auto& [policy, policy_value] : cli::Names<Policy>::kTable) {
      for (const std::size_t prompt : {std::size_t{12}, std::size_t{41}, std::size_t{60}}) {
        Case c = make(std::string(mode) + "_" + std::string(policy) + "_" + std::to_string(prompt),
                      {"--budget", "0.4", "--bits", "32", "--policy", std::string(policy), "--prompt",
                       std::to_string(prompt), "--prefill", std::string(mode), "--prefill-window", "7"},
                      24, 32);
        c.config.rule.policy = policy_value;
        c.prompt = prompt;
        c.mode = static_cast<reference::PrefillMode>(value);
        c.window = 7;
        cases.push_back(c);
      }
    }
  }
  return cases;
}

std::vector<Case> variants() {
  std::vector<Case> cases;
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    Case c = make(dtype == DType::float16 ? "Float16" : "BFloat16", {"--budget", "0.5", "--bits", "16"}, 30, 16);
    c.dtype = c.config.shape.dtype = dtype;
    cases.push_back(c);
  }
  for (const std::string mode : {"replay", "window", "recent"}) {
    Case c =
        make("Centered_" + mode,
             {"--budget", "24", "--bits", "64", "--centering", "prompt", "--prompt", "40", "--prefill", mode}, 24, 64);
    c.config.rule.centering = Centering::prompt;
    c.flavour = Flavour::biased;
    c.prompt = 40;
    c.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
    cases.push_back(c);
  }
  Case projection = make("OwnProjection", {"--budget", "24", "--bits", "32", "--prompt", "30"}, 24, 32);
  projection.own_projection = true;
  projection.prompt = 30;
  cases.push_back(projection);
  for (const bool per_head : {false, true}) {
    for (const bool centered : {false, true}) {
      Case votes = make(std::string("Votes") + (per_head ? "OfEachHead" : "OfAllHeads") + (centered ? "Centered" : ""),
                        {"--budget", "24", "--policy", "votes", "--bits", "32", "--prompt", "30", "--centering",
                         centered ? "fixed" : "none"},
                        24, 32);
      votes.config.rule.policy = Policy::votes;
      votes.config.rule.projection_per_head = per_head ? 1 : 0;
      votes.config.rule.centering = centered ? Centering::fixed : Centering::none;
      votes.own_projection = true;
      votes.own_center = centered;
      votes.prompt = 30;
      cases.push_back(votes);
    }
  }
  for (const std::string mode : {"replay", "window", "recent"}) {
    for (const bool slopes : {false, true}) {
      for (const ImportanceSource source : {ImportanceSource::given, ImportanceSource::key}) {
        if (source == ImportanceSource::given && !slopes) continue;  // among the policies
        Case importance =
            make((source == ImportanceSource::key ? "ImportanceOfKeys" : "Importance") +
                     std::string(slopes ? "WithSlopes_" : "_") + mode,
                 {"--budget", "24", "--policy", "importance", "--prompt", "40", "--prefill", mode}, 24, 16);
        importance.config.rule.policy = Policy::importance;
        importance.config.rule.importance_source = source;
        importance.config.rule.importance_slopes = slopes ? 1 : 0;
        importance.dtype = importance.config.shape.dtype = slopes ? DType::bfloat16 : DType::float32;
        importance.prompt = 40;
        importance.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
        cases.push_back(importance);
      }
    }
  }
  Case large = make("BudgetBeyondTheTrace", {"--budget", "100", "--bits", "16"}, 100, 16);
  cases.push_back(large);
  for (const bool has_prompt : {false, true}) {
    Case layers = make(has_prompt ? "BudgetOfEachLayerWithPrompt" : "BudgetOfEachLayer",
                       {"--budget", "18,0.5", "--bits", "16", "--prompt", has_prompt ? "40" : "0"}, 18, 16);
    layers.config.shape.capacities = capacities_of_layers({18, 30}, layers.config.shape.num_kv_heads);
    layers.prompt = has_prompt ? 40 : 0;
    cases.push_back(layers);
  }
  for (const std::string mode : {"replay", "window"}) {
    Case heads = make("BudgetOfEachHead_" + mode,
                      {"--budget", "18,0.5,17,200", "--bits", "16", "--prompt", "40", "--prefill", mode}, 18, 16);
    heads.config.shape.capacities = {18, 30, 17, 200};
    heads.prompt = 40;
    heads.mode = static_cast<reference::PrefillMode>(cli::parse_name<PrefillMode>(mode));
    cases.push_back(heads);
  }
  Case authors = make("PresetAuthors", {"--budget", "24", "--preset", "authors"}, 24, 16);
  authors.config.rule.hash_source = HashSource::key;
  authors.config.rule.tie = Tie::lowest_slot;
  cases.push_back(authors);
  Case superseded = make("PresetSuperseded", {"--budget", "24", "--preset", "superseded", "--bits", "128"}, 24, 128);
  superseded.config.rule.policy = Policy::superseded;
  superseded.config.rule.recent_fraction = 0.5F;
  cases.push_back(superseded);
  for (const bool has_prompt : {false, true}) {
    Case recall = make(has_prompt ? "PresetRecallWithPrompt" : "PresetRecall",
                       {"--budget", "24", "--preset", "recall", "--prompt", has_prompt ? "40" : "0"}, 24, 32);
    recall.config.rule = Rule{Preset::recall};
    recall.own_projection = recall.own_center = true;
    recall.prompt = has_prompt ? 40 : 0;
    cases.push_back(recall);
  }
  return cases;
}

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Policies, ReplayOracle, testing::ValuesIn(policies()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Rules, ReplayOracle, testing::ValuesIn(rules()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Prefills, ReplayOracle, testing::ValuesIn(prefills()), name_of_case);
INSTANTIATE_TEST_SUITE_P(Variants, ReplayOracle, testing::ValuesIn(variants()), name_of_case);

}  // namespace
}  // namespace hashevict::test
