// SPDX-License-Identifier: Apache-2.0
#include "config.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "file_mapping.hpp"

namespace hashevict::engine {
namespace {

using nlohmann::json;

constexpr std::int32_t kMaxHeadDim = 256;  // what a cache of the library admits

// Reads fields of one JSON object and names the file and the field in what it throws.
class Fields {
 public:
  Fields(const json& object, std::string source) : object_(object), source_(std::move(source)) {}

  const std::string& source() const { return source_; }

  // NULL if the field is missing or null.
  const json* find(const char* key) const {
    const auto entry = object_.find(key);
    return entry == object_.end() || entry->is_null() ? nullptr : &*entry;
  }

  [[noreturn]] void refuse(Status status, const char* key, const std::string& expected) const {
    const json* value = find(key);
    std::string found = value == nullptr ? "nothing" : value->dump(-1, ' ', true);
    if (found.size() > 80) found = found.substr(0, 80) + "...";
    throw Error{status, source_ + ": " + key + " is " + found + ", expected " + expected};
  }

  std::int32_t positive(const char* key, std::optional<std::int32_t> absent = std::nullopt) const {
    const json* value = find(key);
    if (value == nullptr && absent) return *absent;
    if (value == nullptr || !value->is_number_unsigned() || value->get<std::uint64_t>() == 0 ||
        value->get<std::uint64_t>() > INT32_MAX) {
      refuse(Status::invalid_data, key, "a positive 32-bit integer");
    }
    return value->get<std::int32_t>();
  }

  float positive_number(const char* key, std::optional<float> absent = std::nullopt) const {
    const json* value = find(key);
    if (value == nullptr && absent) return *absent;
    const float number = value != nullptr && value->is_number() ? value->get<float>() : 0.0F;
    if (!(number > 0) || !std::isfinite(number)) refuse(Status::invalid_data, key, "a positive number");
    return number;
  }

  bool flag(const char* key, bool absent) const {
    const json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_boolean()) refuse(Status::invalid_data, key, "true or false");
    return value->get<bool>();
  }

  std::string text(const char* key, const char* absent) const {
    const json* value = find(key);
    if (value == nullptr) return absent;
    if (!value->is_string()) refuse(Status::invalid_data, key, "a string");
    return value->get<std::string>();
  }

  // A token id, several of them, or none.
  std::vector<std::int32_t> tokens(const char* key) const {
    const json* value = find(key);
    std::vector<std::int32_t> result;
    if (value == nullptr) return result;
    const json list = value->is_array() ? *value : json::array({*value});
    for (const json& token : list) {
      if (!token.is_number_unsigned() || token.get<std::uint64_t>() > INT32_MAX) {
        refuse(Status::invalid_data, key, "token ids");
      }
      result.push_back(token.get<std::int32_t>());
    }
    return result;
  }

 private:
  const json& object_;
  std::string source_;
};

// What this decoder does not compute must not be passed over in silence.
void refuse_other_models(const Fields& fields) {
  const std::string type = fields.text("model_type", "llama");
  if (type != "llama" && type != "mistral") fields.refuse(Status::unsupported, "model_type", "llama or mistral");
  if (const json* names = fields.find("architectures")) {
    const bool known = names->is_array() && std::any_of(names->begin(), names->end(), [](const json& name) {
                         return name == "LlamaForCausalLM" || name == "MistralForCausalLM";
                       });
    if (!known) fields.refuse(Status::unsupported, "architectures", "LlamaForCausalLM or MistralForCausalLM");
  } else if (fields.find("model_type") == nullptr) {
    fields.refuse(Status::unsupported, "model_type", "llama or mistral");
  }
  const std::string activation = fields.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") fields.refuse(Status::unsupported, "hidden_act", "silu");
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (fields.flag(key, false)) fields.refuse(Status::unsupported, key, "false");
  }
  for (const char* key : {"sliding_window", "quantization_config"}) {
    if (fields.find(key) != nullptr) fields.refuse(Status::unsupported, key, "null");
  }
  if (fields.positive_number("partial_rotary_factor", 1.0F) != 1.0F) {
    fields.refuse(Status::unsupported, "partial_rotary_factor", "1");
  }
}

RopeScaling parse_rope_scaling(const Fields& fields) {
  RopeScaling scaling;
  const char* key = fields.find("rope_type") != nullptr ? "rope_type" : "type";
  const std::string type = fields.text(key, "default");
  if (type == "default") return scaling;
  if (type != "linear" && type != "llama3") fields.refuse(Status::unsupported, key, "default, linear or llama3");
  scaling.factor = fields.positive_number("factor");
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
    return scaling;
  }
  scaling.kind = RopeScaling::Kind::llama3;
  scaling.low_freq_factor = fields.positive_number("low_freq_factor");
  scaling.high_freq_factor = fields.positive_number("high_freq_factor");
  scaling.original_max_position_embeddings = fields.positive("original_max_position_embeddings");
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    fields.refuse(Status::invalid_data, "high_freq_factor", "more than low_freq_factor");
  }
  return scaling;
}

// Rotary settings lie in `rope_theta` and `rope_scaling`, or together in `rope_parameters` (newer files).
void parse_rope(const Fields& fields, const std::string& source, ModelConfig& config) {
  config.rope_theta = fields.positive_number("rope_theta", 10000.0F);
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const json* object = fields.find(key);
    if (object == nullptr) continue;
    if (!object->is_object()) fields.refuse(Status::invalid_data, key, "an object");
    const Fields rope(*object, source + ": " + key);
    config.rope_theta = rope.positive_number("rope_theta", config.rope_theta);
    config.rope_scaling = parse_rope_scaling(rope);
  }
}

void parse_heads(const Fields& fields, ModelConfig& config) {
  config.num_qo_heads = fields.positive("num_attention_heads");
  config.num_kv_heads = fields.positive("num_key_value_heads", config.num_qo_heads);
  if (config.num_qo_heads % config.num_kv_heads != 0) {
    fields.refuse(Status::invalid_data, "num_key_value_heads",
                  "a divisor of num_attention_heads = " + std::to_string(config.num_qo_heads));
  }
  if (fields.find("head_dim") == nullptr && config.hidden_size % config.num_qo_heads != 0) {
    fields.refuse(Status::invalid_data, "head_dim", "a value, as the heads do not divide hidden_size");
  }
  config.head_dim = fields.positive("head_dim", std::max(1, config.hidden_size / config.num_qo_heads));
  if (config.head_dim % 8 != 0 || config.head_dim > kMaxHeadDim) {
    throw Error{Status::unsupported, fields.source() + ": heads of " + std::to_string(config.head_dim) +
                                         " elements, expected a multiple of 8 up to " + std::to_string(kMaxHeadDim)};
  }
}

json parse_object(std::string_view text, const std::string& source) {
  // Nothing in a config nests deeper than this; the limit keeps hostile files from exhausting the stack.
  constexpr int kMaxDepth = 16;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t, json&) {
    if (depth > kMaxDepth) throw Error{Status::invalid_data, source + ": is nested too deeply"};
    return true;
  };
  try {
    json object = json::parse(text, watch);
    if (object.is_object()) return object;
  } catch (const json::exception&) {
    throw Error{Status::invalid_data, source + ": is not valid JSON"};
  }
  throw Error{Status::invalid_data, source + ": is not a JSON object"};
}

}  // namespace

ModelConfig parse_model_config(std::string_view text, std::string_view source) {
  const std::string name(source);
  const json object = parse_object(text, name);
  const Fields fields(object, name);
  refuse_other_models(fields);
  ModelConfig config;
  config.num_layers = fields.positive("num_hidden_layers");
  config.hidden_size = fields.positive("hidden_size");
  config.intermediate_size = fields.positive("intermediate_size");
  config.vocab_size = fields.positive("vocab_size");
  config.max_position_embeddings = fields.positive("max_position_embeddings", 2048);
  config.rms_norm_eps = fields.positive_number("rms_norm_eps", 1e-6F);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings", false);
  parse_heads(fields, config);
  parse_rope(fields, name, config);
  const std::vector<std::int32_t> bos = fields.tokens("bos_token_id");
  if (!bos.empty()) config.bos_token = bos.front();
  config.eos_tokens = fields.tokens("eos_token_id");
  return config;
}

ModelConfig load_model_config(const std::filesystem::path& path) {
  return parse_model_config(FileMapping(path).text(), path.string());
}

}  // namespace hashevict::engine
