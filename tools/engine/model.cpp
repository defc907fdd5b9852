// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "checkpoint.hpp"
#include "file_mapping.hpp"
#include "rope.hpp"

namespace hashevict::engine {
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kOutput = "lm_head.weight";
constexpr const char* kPrefixes[] = {"model.", "lm_head.", "layers.", "embed_tokens.", "norm.", "base_model."};
constexpr const char* kBuffers[] = {".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"};

bool is_equal(const StoredTensor& a, const StoredTensor& b) {
  if (a.shape != b.shape || !a.is_floating() || !b.is_floating()) return false;
  if (a.type == b.type) return std::equal(a.bytes.begin(), a.bytes.end(), b.bytes.begin());
  const std::size_t step_a = element_bytes(a.type);
  const std::size_t step_b = element_bytes(b.type);
  for (std::size_t i = 0; i < a.bytes.size() / step_a; ++i) {
    if (widen(a.type, a.bytes.data() + i * step_a) != widen(b.type, b.bytes.data() + i * step_b)) return false;
  }
  return true;
}

// Prefixes of the weights of a decoder or of an adapter.
bool is_decoders(const std::string& name) {
  return std::any_of(std::begin(kPrefixes), std::end(kPrefixes),
                     [&](const char* prefix) { return name.starts_with(prefix); });
}

// Buffers that older checkpoints store beside the weights. The config determines them.
bool is_buffer(const std::string& name) {
  return std::any_of(std::begin(kBuffers), std::end(kBuffers),
                     [&](const char* buffer) { return name.ends_with(buffer); });
}

// Reads a decoder's weights from a checkpoint: checks and counts them, and knows the unread ones.
class WeightSource {
 public:
  // @param tensors outlives this
  explicit WeightSource(const TensorTable& tensors) : tensors_(tensors) {}

  // @throws Error invalid_data for a tensor that is missing, of another shape or type, or not finite
  const StoredTensor& get(const std::string& name, const std::vector<std::int64_t>& shape);

  // Refuses a checkpoint with unread weights that would change a decoder's results: biases, norms of queries and keys,
  // layers beyond the last, scales of quantized weights. Accepts empty tensors, buffers that the decoder computes
  // itself, and tensors of other modules.
  // @param is_tied the output matrix is the embedding: a stored output matrix must equal it
  // @throws Error unsupported, naming the tensor
  void require_all_read(bool is_tied) const;

  // The number of elements read so far.
  std::int64_t num_parameters() const { return num_parameters_; }

 private:
  const TensorTable& tensors_;
  std::set<std::string> read_;
  std::int64_t num_parameters_ = 0;
};

const StoredTensor& WeightSource::get(const std::string& name, const std::vector<std::int64_t>& shape) {
  const auto entry = tensors_.find(name);
  if (entry == tensors_.end()) throw Error{Status::invalid_data, "checkpoint: has no tensor " + name};
  const StoredTensor& tensor = *entry->second;
  if (tensor.shape != shape) {
    throw Error{Status::invalid_data,
                "tensor " + name + ": has shape " + show(tensor.shape) + ", the config says " + show(shape)};
  }
  if (!tensor.is_floating()) {
    throw Error{Status::invalid_data,
                "tensor " + name + ": is " + std::string(tensor.type_name()) + ", expected F32, F16 or BF16"};
  }
  if (const std::string element = tensor.non_finite_element(); !element.empty()) {
    throw Error{Status::invalid_data, "tensor " + tensor.name + ": " + element + ", expected finite weights"};
  }
  num_parameters_ += tensor.num_elements();
  read_.insert(name);
  return tensor;
}

void WeightSource::require_all_read(bool is_tied) const {
  for (const auto& [name, tensor] : tensors_) {
    if (read_.contains(name) || tensor->num_elements() == 0 || !is_decoders(name) || is_buffer(name)) continue;
    if (is_tied && name == kOutput) {
      if (is_equal(*tensor, *tensors_.at(kEmbedding))) continue;
      throw Error{Status::unsupported,
                  "tensor " + name + ": differs from " + kEmbedding + ", but the config says tie_word_embeddings"};
    }
    throw Error{Status::unsupported, "tensor " + name + ": a weight that is not understood by this decoder"};
  }
}

LayerWeights load_layer(WeightSource& source, const ModelConfig& config, std::int32_t index) {
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t mlp = config.intermediate_size;
  const std::int64_t queries = std::int64_t{config.num_qo_heads} * config.head_dim;
  const std::int64_t keys = std::int64_t{config.num_kv_heads} * config.head_dim;
  LayerWeights layer;
  layer.attention_norm = source.get(prefix + "input_layernorm.weight", {hidden}).to_floats();
  layer.query_key_value = PackedMatrix({&source.get(prefix + "self_attn.q_proj.weight", {queries, hidden}),
                                        &source.get(prefix + "self_attn.k_proj.weight", {keys, hidden}),
                                        &source.get(prefix + "self_attn.v_proj.weight", {keys, hidden})});
  layer.attention_output = PackedMatrix({&source.get(prefix + "self_attn.o_proj.weight", {hidden, queries})});
  layer.mlp_norm = source.get(prefix + "post_attention_layernorm.weight", {hidden}).to_floats();
  layer.gate_up = PackedMatrix({&source.get(prefix + "mlp.gate_proj.weight", {mlp, hidden}),
                                &source.get(prefix + "mlp.up_proj.weight", {mlp, hidden})});
  layer.down = PackedMatrix({&source.get(prefix + "mlp.down_proj.weight", {hidden, mlp})});
  return layer;
}

// Other programs apply an adapter in the model's folder, or load the model that it names. Without it, the answers would
// be those of another model.
void refuse_adapter(const std::filesystem::path& folder) {
  const bool is_alone = !is_there(folder / kConfig);
  for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"}) {
    if (!is_there(folder / name)) continue;
    if (is_alone || std::string_view(name) == "adapter_config.json") {
      throw Error{Status::unsupported,
                  (folder / name).string() +
                      (is_alone ? ": the folder holds an adapter, not a model"
                                : ": an adapter lies beside the model, and adapters are not applied") +
                      "; expected a model that it was merged into"};
    }
  }
}

}  // namespace

std::uint64_t weight_bytes(const TensorTable& tensors, bool is_tied) {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) {
    const bool is_copied =
        tensor->is_floating() && is_decoders(name) && !is_buffer(name) && !(is_tied && name == kOutput);
    if (is_copied) bytes += tensor->bytes.size();
  }
  return bytes;
}

Model::Model(ModelConfig config, const TensorTable& tensors)
    : config_(std::move(config)), rope_frequencies_(engine::rope_frequencies(config_)) {
  WeightSource source(tensors);
  const std::int64_t vocab = config_.vocab_size;
  const std::int64_t hidden = config_.hidden_size;
  embedding_ = PackedMatrix({&source.get("model.embed_tokens.weight", {vocab, hidden})});
  for (std::int32_t i = 0; i < config_.num_layers; ++i) layers_.push_back(load_layer(source, config_, i));
  final_norm_ = source.get("model.norm.weight", {hidden}).to_floats();
  if (!config_.tie_word_embeddings) output_ = PackedMatrix({&source.get("lm_head.weight", {vocab, hidden})});
  source.require_all_read(config_.tie_word_embeddings);
  num_parameters_ = source.num_parameters();
}

Model Model::load(const std::filesystem::path& path, const Admit& admit) {
  const std::filesystem::path folder = is_folder(path) ? path : path.parent_path();
  refuse_adapter(folder);
  ModelConfig config = load_model_config(folder / kConfig);
  const std::filesystem::path generation = folder / "generation_config.json";
  if (is_there(generation)) apply_generation_config(FileMapping(generation).text(), generation.string(), config);
  const Checkpoint checkpoint(path);
  if (admit) admit(weight_bytes(checkpoint.tensors(), config.tie_word_embeddings));
  return Model(std::move(config), checkpoint.tensors());
}

}  // namespace hashevict::engine
