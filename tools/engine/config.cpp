// SPDX-License-Identifier: Apache-2.0
#include "config.hpp"

#include <algorithm>
#include <string>
#include <string_view>

#include "config_fields.hpp"
#include "config_keys.hpp"
#include "file_mapping.hpp"
#include "json_object.hpp"

namespace hashevict::engine {
namespace {

using nlohmann::json;

constexpr std::int32_t kMaxHeadDim = 256;  // the library's limit
constexpr int kMaxDepth = 16;              // no config nests deeper

constexpr const char* kTheta = "rope_theta";
constexpr const char* kType = "rope_type";
constexpr const char* kOldType = "type";
constexpr const char* kOriginal = "original_max_position_embeddings";

bool is_one_of_ours(const json& name) {
  return name == "LlamaForCausalLM" || name == "MistralForCausalLM";
}

// Refuses models of other architectures. Returns whether it is a Mistral, whose defaults differ.
bool parse_kind(const Fields& fields) {
  const json* type = fields.find("model_type");
  const json* names = fields.find("architectures");
  const bool is_named = names != nullptr && names->is_array() && !names->empty() &&
                        std::all_of(names->begin(), names->end(), is_one_of_ours);
  if (type != nullptr && *type != "llama" && *type != "mistral") {
    fields.refuse(Status::unsupported, "model_type", "llama or mistral");
  }
  if (names != nullptr && !is_named) {
    fields.refuse(Status::unsupported, "architectures", "LlamaForCausalLM or MistralForCausalLM");
  }
  if (type == nullptr && names == nullptr) fields.refuse(Status::unsupported, "model_type", "llama or mistral");
  return type != nullptr ? *type == "mistral" : names->front() == "MistralForCausalLM";
}

void require_silu(const Fields& fields) {
  const std::string activation = fields.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") fields.refuse(Status::unsupported, "hidden_act", "silu");
}

// Reads the number of KV heads. Its default is that of query heads for Llama, and eight for Mistral.
std::int32_t parse_kv_heads(const Fields& fields, const ModelConfig& config) {
  constexpr std::int32_t kMistral = 8;
  const char* key = "num_key_value_heads";
  const bool is_mistrals = config.is_mistral && !fields.object().contains(key);
  const std::int32_t heads = fields.positive(key, is_mistrals ? kMistral : config.num_qo_heads);
  if (config.num_qo_heads % heads == 0) return heads;
  fields.refuse(Status::invalid_data, key,
                "a divisor of num_attention_heads = " + std::to_string(config.num_qo_heads) +
                    (is_mistrals ? "; where it is missing, Mistral's is 8" : ""));
}

void parse_heads(const Fields& fields, ModelConfig& config) {
  config.num_qo_heads = fields.positive("num_attention_heads");
  config.num_kv_heads = parse_kv_heads(fields, config);
  if (fields.find("head_dim") == nullptr && config.hidden_size % config.num_qo_heads != 0) {
    fields.refuse(Status::invalid_data, "head_dim", "a value, as the heads do not divide hidden_size");
  }
  config.head_dim = fields.positive("head_dim", std::max(1, config.hidden_size / config.num_qo_heads));
  if (config.head_dim % 8 != 0 || config.head_dim > kMaxHeadDim) {
    throw Error{Status::unsupported,
                fields.source() + ": head_dim is " + std::to_string(config.head_dim) +
                    (fields.find("head_dim") == nullptr ? " (hidden_size / num_attention_heads)" : "") +
                    ", expected a multiple of 8 up to " + std::to_string(kMaxHeadDim)};
  }
}

// Adds the fields of another object. Fields in both must agree; `null` is absent.
void merge(const Fields& from, json& into) {
  for (const auto& [key, value] : from.object().items()) {
    if (value.is_null()) continue;
    const std::string name = key == kOldType ? kType : key;
    const auto entry = into.find(name);
    if (entry != into.end() && *entry != value) {
      from.refuse(Status::invalid_data, key, entry->dump(-1, ' ', true) + ", as another rotary setting says");
    }
    into[name] = value;
  }
}

// Merges the rotary settings of the three places into one object. `source` names the places that occur.
json merged_settings(const Fields& fields, std::string& source) {
  json settings = json::object();
  if (const json* theta = fields.find(kTheta)) settings[kTheta] = *theta;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* object = fields.find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) fields.refuse(Status::invalid_data, key, "an object");
    merge(Fields(*object, fields.source() + ": " + key), settings);
    source.append(source == fields.source() ? ": " : ", ").append(key);
  }
  return settings;
}

// The fields that a kind of scaling reads, besides the common ones.
bool is_read(RopeScaling::Kind kind, std::string_view key) {
  if (key == kTheta || key == kType) return true;
  if (kind == RopeScaling::Kind::none) return false;
  if (key == "factor") return true;
  return kind == RopeScaling::Kind::llama3 &&
         (key == "low_freq_factor" || key == "high_freq_factor" || key == kOriginal);
}

void require_known_rope(const Fields& rope, const ModelConfig& config) {
  for (const auto& [key, value] : rope.object().items()) {
    if (is_read(config.rope_scaling.kind, key)) continue;
    const bool is_one = key == "partial_rotary_factor" || key == "attention_factor" ||
                        (key == "factor" && config.rope_scaling.kind == RopeScaling::Kind::none);
    if (is_one) {
      if (value != 1) rope.refuse(Status::unsupported, key, "1");
    } else if (key == kOriginal) {
      const bool is_linear = config.rope_scaling.kind == RopeScaling::Kind::linear;
      if (!is_linear && value != config.max_position_embeddings) {
        rope.refuse(Status::unsupported, key, "max_position_embeddings, as nothing is scaled");
      }
    } else {
      rope.refuse_unknown(key);
    }
  }
}

void parse_scaling(const Fields& rope, RopeScaling& scaling) {
  const std::string type = rope.text(kType, "default");
  if (type == "default") return;
  if (type != "linear" && type != "llama3") rope.refuse(Status::unsupported, kType, "default, linear or llama3");
  scaling.factor = rope.positive_number("factor");
  scaling.kind = type == "linear" ? RopeScaling::Kind::linear : RopeScaling::Kind::llama3;
  if (scaling.kind == RopeScaling::Kind::linear) return;
  scaling.low_freq_factor = rope.positive_number("low_freq_factor");
  scaling.high_freq_factor = rope.positive_number("high_freq_factor");
  scaling.original_max_position_embeddings = rope.positive(kOriginal);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    rope.refuse(Status::invalid_data, "high_freq_factor", "more than low_freq_factor");
  }
}

// Reads `rope_theta`, `rope_scaling` and `rope_parameters`, once `max_position_embeddings` is read. Fields that overlap
// must agree; settings that the decoder does not support are refused.
void parse_rope(const Fields& fields, ModelConfig& config) {
  config.rope_theta = fields.positive_number(kTheta, 10000.0F);
  std::string source = fields.source();
  const json settings = merged_settings(fields, source);
  const Fields rope(settings, source);
  config.rope_theta = rope.positive_number(kTheta, 10000.0F);
  parse_scaling(rope, config.rope_scaling);
  require_known_rope(rope, config);
}

// Leaves the mark that begins a sequence unchecked: its users check it.
void parse_marks(const Fields& fields, ModelConfig& config) {
  const std::vector<std::int32_t> bos = fields.tokens("bos_token_id", INT32_MAX);
  if (!bos.empty()) config.bos_token = bos.front();
  if (fields.find("eos_token_id") != nullptr) config.eos_tokens = fields.tokens("eos_token_id", config.vocab_size);
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, std::string_view source) {
  const std::string name(source);
  const json object = parse_json_object(text, name, kMaxDepth);
  const Fields fields(object, name);
  ModelConfig config;
  config.is_mistral = parse_kind(fields);
  require_silu(fields);
  config.num_layers = fields.positive("num_hidden_layers");
  config.hidden_size = fields.positive("hidden_size");
  config.intermediate_size = fields.positive("intermediate_size");
  config.vocab_size = fields.positive("vocab_size");
  config.max_position_embeddings = fields.positive("max_position_embeddings", config.is_mistral ? 131072 : 2048);
  config.rms_norm_eps = fields.positive_number("rms_norm_eps", 1e-6F);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", false);
  parse_heads(fields, config);
  parse_rope(fields, config);
  parse_marks(fields, config);
  require_known_keys(fields, config);
  return config;
}

ModelConfig load_model_config(const std::filesystem::path& path) {
  return parse_model_config(FileMapping(path).text(), path.string());
}

void apply_generation_config(std::string_view text, std::string_view source, ModelConfig& config) {
  const std::string name(source);
  const json object = parse_json_object(text, name, kMaxDepth);
  parse_marks(Fields(object, name), config);
}

}  // namespace hashevict::engine
