// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include "checkpoint.hpp"
#include "rope.hpp"

namespace hashevict::engine {
namespace {

std::string show(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

// Takes tensors out of a checkpoint, checks their shapes and counts their elements.
class Source {
 public:
  explicit Source(const Model::Find& find) : find_(find) {}

  const StoredTensor* get(const std::string& name, const std::vector<std::int64_t>& shape) {
    const StoredTensor* tensor = find_(name);
    if (tensor == nullptr) throw Error{Status::invalid_data, "checkpoint: has no tensor " + name};
    if (tensor->shape != shape) {
      throw Error{Status::invalid_data,
                  "tensor " + name + ": has shape " + show(tensor->shape) + ", the config says " + show(shape)};
    }
    if (tensor->type != ElementType::f32 && tensor->type != ElementType::f16 && tensor->type != ElementType::bf16) {
      throw Error{Status::invalid_data,
                  "tensor " + name + ": is " + std::string(element_name(tensor->type)) + ", expected F32, F16 or BF16"};
    }
    num_parameters_ += tensor->num_elements();
    return tensor;
  }

  std::int64_t num_parameters() const { return num_parameters_; }

 private:
  const Model::Find& find_;
  std::int64_t num_parameters_ = 0;
};

LayerWeights load_layer(Source& source, const ModelConfig& config, std::int32_t index) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t mlp = config.intermediate_size;
  const std::int64_t queries = std::int64_t{config.num_qo_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  LayerWeights layer;
  layer.attention_norm = source.get(prefix + "input_layernorm.weight", {hidden})->to_floats();
  layer.query_key_value = PackedMatrix({source.get(prefix + "self_attn.q_proj.weight", {queries, hidden}),
                                        source.get(prefix + "self_attn.k_proj.weight", {keys, hidden}),
                                        source.get(prefix + "self_attn.v_proj.weight", {keys, hidden})});
  layer.attention_output = PackedMatrix({source.get(prefix + "self_attn.o_proj.weight", {hidden, queries})});
  layer.mlp_norm = source.get(prefix + "post_attention_layernorm.weight", {hidden})->to_floats();
  layer.gate_up = PackedMatrix({source.get(prefix + "mlp.gate_proj.weight", {mlp, hidden}),
                                source.get(prefix + "mlp.up_proj.weight", {mlp, hidden})});
  layer.down = PackedMatrix({source.get(prefix + "mlp.down_proj.weight", {hidden, mlp})});
  return layer;
}

}  // namespace

Model::Model(ModelConfig config, const Find& find)
    : config_(std::move(config)), rope_frequencies_(engine::rope_frequencies(config_)) {
  Source source(find);
  const std::int64_t vocab = config_.vocab_size;
  const std::int64_t hidden = config_.hidden_size;
  embedding_ = PackedMatrix({source.get("model.embed_tokens.weight", {vocab, hidden})});
  for (std::int32_t i = 0; i < config_.num_layers; ++i) layers_.push_back(load_layer(source, config_, i));
  final_norm_ = source.get("model.norm.weight", {hidden})->to_floats();
  if (!config_.tie_word_embeddings) output_ = PackedMatrix({source.get("lm_head.weight", {vocab, hidden})});
  num_parameters_ = source.num_parameters();
}

Model Model::load(const std::filesystem::path& path) {
  const bool is_folder = std::filesystem::is_directory(path);
  ModelConfig config = load_model_config((is_folder ? path : path.parent_path()) / "config.json");
  const Checkpoint checkpoint(path);
  return Model(std::move(config), [&](std::string_view name) { return checkpoint.find(name); });
}

}  // namespace hashevict::engine
