// SPDX-License-Identifier: Apache-2.0
// Refused weights: invalid, missing or unused ones, and numbers that overflow in the decoder.
#include <cmath>
#include <cstring>
#include <limits>
#include <list>

#include "engine/generate.hpp"
#include "random_model.hpp"
#include "refusal.hpp"

namespace hashevict::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A random checkpoint that tests extend and damage.
class Weights {
 public:
  explicit Weights(const ModelConfig& config, ElementType type = ElementType::f32)
      : config_(config), checkpoint_(config, type, 3), table_(checkpoint_.table()) {}

  void add(const std::string& name, ElementType type, std::vector<std::int64_t> shape, std::vector<std::byte> bytes) {
    const std::vector<std::byte>& kept = data_.emplace_back(std::move(bytes));
    added_.push_back({name, type, std::move(shape), kept});
    table_[name] = &added_.back();
  }
  void add(const std::string& name, std::vector<std::int64_t> shape, std::size_t num_elements) {
    add(name, ElementType::f32, std::move(shape), std::vector<std::byte>(4 * num_elements));
  }

  // Replaces one element of an fp32 tensor.
  void set(const std::string& name, std::size_t index, float value) {
    const StoredTensor& old = *table_.at(name);
    std::vector<std::byte> bytes(old.bytes.begin(), old.bytes.end());
    std::memcpy(bytes.data() + 4 * index, &value, sizeof value);
    add(name, old.type, old.shape, std::move(bytes));
  }
  void fill(const std::string& name, float value) {
    const std::size_t size = table_.at(name)->bytes.size() / 4;
    for (std::size_t i = 0; i < size; ++i) set(name, i, value);
  }

  const StoredTensor& tensor(const std::string& name) const { return *table_.at(name); }
  Model model() const { return Model(config_, table_); }

  void expect_refused(const std::string& name, const std::string& expected,
                      Status status = Status::invalid_data) const {
    EXPECT_THAT(refusal([&] { model(); }, status), AllOf(HasSubstr(name), HasSubstr(expected)));
  }

 private:
  ModelConfig config_;
  RandomCheckpoint checkpoint_;
  std::list<std::vector<std::byte>> data_;
  std::list<StoredTensor> added_;
  TensorTable table_;
};

TEST(Weights, WeightThatWouldBeLeftOutIsRefused) {
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.bias", "model.layers.1.self_attn.o_proj.bias",
        "model.layers.0.mlp.up_proj.bias", "model.layers.1.self_attn.q_norm.weight",
        "model.layers.2.input_layernorm.weight", "model.norm.bias", "model.embed_positions.weight",
        "model.layers.0.self_attn.q_proj.weight_scale", "lm_head.bias", "layers.0.self_attn.q_proj.bias",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"}) {
    Weights weights(odd_config());
    weights.add(name, {4}, 4);
    weights.expect_refused(name, "a weight that is not understood by this decoder", Status::unsupported);
  }
}

TEST(Weights, TensorThatCannotChangeResultsIsPassedOver) {
  Weights weights(odd_config());
  weights.add("model.layers.0.self_attn.rotary_emb.inv_freq", {12}, 12);
  weights.add("model.rotary_emb.inv_freq", {12}, 12);
  weights.add("score.weight", {2, 37}, 74);
  weights.add("vision_tower.patch.bias", {3}, 3);
  weights.add("model.layers.0.self_attn.q_proj.marker", {0}, 0);
  weights.add("scaled_fp8", ElementType::other, {2}, std::vector<std::byte>(2));
  EXPECT_EQ(weights.model().num_parameters(), Weights(odd_config()).model().num_parameters());
}

TEST(Weights, OutputMatrixBesideATiedOneMustEqualIt) {
  ModelConfig config = odd_config();
  config.tie_word_embeddings = true;
  Weights weights(config);
  const StoredTensor& embedding = weights.tensor("model.embed_tokens.weight");
  weights.add("lm_head.weight", embedding.type, embedding.shape, {embedding.bytes.begin(), embedding.bytes.end()});
  EXPECT_NO_THROW(weights.model());
  weights.set("lm_head.weight", 40, 77.0F);
  weights.expect_refused("lm_head.weight", "differs from model.embed_tokens.weight", Status::unsupported);
}

TEST(Weights, WeightThatIsNotFiniteIsRefusedWithItsPlace) {
  for (const char* name : {"model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "lm_head.weight"}) {
    Weights weights(odd_config());
    const std::int64_t width = weights.tensor(name).shape[1];
    weights.set(name, static_cast<std::size_t>(2 * width + 1), std::numeric_limits<float>::quiet_NaN());
    weights.expect_refused(name, "element [2, 1] is NaN");
    weights.set(name, static_cast<std::size_t>(2 * width + 1), -std::numeric_limits<float>::infinity());
    weights.expect_refused(name, "element [2, 1] is infinite");
  }
  Weights norm(odd_config());
  norm.set("model.norm.weight", 36, std::numeric_limits<float>::infinity());
  norm.expect_refused("model.norm.weight", "element [36] is infinite");
}

TEST(Weights, HalfWeightThatIsNotFiniteIsRefused) {
  const std::pair<ElementType, std::uint16_t> cases[] = {
      {ElementType::f16, 0x7e00}, {ElementType::f16, 0xfc00}, {ElementType::bf16, 0x7fc0}, {ElementType::bf16, 0xff80}};
  for (const auto& [type, bits] : cases) {
    Weights weights(odd_config(), type);
    const StoredTensor& norm = weights.tensor("model.norm.weight");
    std::vector<std::byte> bytes(norm.bytes.begin(), norm.bytes.end());
    std::memcpy(bytes.data() + 10, &bits, sizeof bits);
    weights.add("model.norm.weight", type, norm.shape, std::move(bytes));
    weights.expect_refused("model.norm.weight", "element [5] is ");
  }
}

TEST(Weights, TensorOfAForeignTypeIsRefusedOnlyWhereItIsRead) {
  Weights weights(odd_config());
  const StoredTensor& norm = weights.tensor("model.norm.weight");
  weights.add(norm.name, ElementType::other, norm.shape, std::vector<std::byte>(37));
  weights.expect_refused("model.norm.weight", "expected F32, F16 or BF16");
}

std::string error_of(const Model& model, const std::vector<std::int32_t>& prompt, std::int32_t capacity) {
  Engine engine(model, capacity);
  return refusal([&] { generate(engine.decoder, prompt, {.max_new_tokens = 4}); });
}

TEST(Overflow, IsAnErrorThatNamesPositionAndToken) {
  for (const float large : {1e20F, 3e38F}) {  // the first overflows where it is squared
    Weights weights(odd_config());
    weights.set("model.embed_tokens.weight", 7 * 37, large);
    std::vector<std::int32_t> prompt(600, 1);  // evicted long before a logit is computed
    prompt[5] = 7;
    EXPECT_EQ(error_of(weights.model(), prompt, 24),
              "position 5, token 7: the model's states are not finite; its weights are too large or damaged");
  }
}

TEST(Overflow, WithinALayerIsAnError) {
  for (const char* name : {"model.layers.0.mlp.gate_proj.weight", "model.layers.1.self_attn.v_proj.weight",
                           "model.layers.1.self_attn.k_proj.weight"}) {
    Weights weights(odd_config());
    weights.fill(name, 3e38F);
    EXPECT_THAT(error_of(weights.model(), {1, 2, 3}, 24), HasSubstr("are not finite")) << name;
  }
}

TEST(Overflow, OfLogitsIsAnError) {
  Weights weights(odd_config());
  weights.fill("lm_head.weight", 3e38F);
  EXPECT_THAT(error_of(weights.model(), {1, 2, 3}, 24), HasSubstr("position 2, token 3: the model's logits"));
}

}  // namespace
}  // namespace hashevict::engine
