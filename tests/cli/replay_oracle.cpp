// SPDX-License-Identifier: Apache-2.0
#include "replay_oracle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "command.hpp"

namespace hashevict::test {
namespace {

using Case = ReplayCase;

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

}  // namespace

void expect_what_the_oracle_says(const ReplayCase& c, uint32_t seed) {
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
  if (!c.profile.empty()) {
    write_tensors(folder.path("profile"), c.profile);
    arguments.insert(arguments.end(), {"--profile", folder.path("profile")});
  }
  const CommandResult result = run_command(arguments);
  ASSERT_EQ(result.exit_code, 0) << result.errors;
  EXPECT_EQ(result.errors, "");
  compare(c, engine::Safetensors::open(folder.path("out")), layers);
}

ReplayCase replay_case(std::string name, std::vector<std::string> arguments, int32_t capacity, int32_t bits) {
  ReplayCase c;
  c.name = std::move(name);
  c.arguments = std::move(arguments);
  c.config.shape.capacity = capacity;
  c.config.rule.hash_bits = bits;
  return c;
}

uint32_t seed_of_this_test() {
  return static_cast<uint32_t>(std::hash<std::string>{}(testing::UnitTest::GetInstance()->current_test_info()->name()));
}

}  // namespace hashevict::test
