// SPDX-License-Identifier: Apache-2.0
#include "config_keys.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace hashevict::engine {
namespace {

using nlohmann::json;

// The keys that parse_model_config() reads.
constexpr std::string_view kHonoured[] = {
    "architectures",     "model_type",        "hidden_act",          "hidden_size",
    "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim",          "vocab_size",        "rms_norm_eps",        "max_position_embeddings",
    "rope_theta",        "rope_scaling",      "rope_parameters",     "tie_word_embeddings",
    "bos_token_id",      "eos_token_id",
};

// Fields about the file's origin, training, other programs' execution, and sampling.
constexpr std::string_view kWithoutEffect[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_flash_attn_2_enabled",
    "_from_model_config",
    "_name_or_path",
    "attn_implementation",
    "bad_words_ids",
    "begin_suppress_tokens",
    "cls_token_id",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "init_std",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "loss_type",
    "mask_token_id",
    "max_length",
    "max_seq_len",
    "max_sequence_length",
    "max_window_layers",
    "min_length",
    "model_max_length",
    "neftune_noise_alpha",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "prefix",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "seq_length",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_flash_attn",
    "use_flash_attention",
};

// A setting, and the one value besides null with which it changes nothing.
struct Neutral {
  std::string_view key;
  std::string_view value;  // as JSON
};
constexpr Neutral kNeutral[] = {
    {"add_bias_linear", "false"},
    {"add_cross_attention", "false"},
    {"alibi", "false"},
    {"attention_bias", "false"},
    {"attention_in_bias", "false"},
    {"attention_out_bias", "false"},
    {"attention_output_bias", "false"},
    {"attention_sink", "false"},
    {"attn_logit_softcapping", "null"},
    {"attn_output_gate", "false"},
    {"attn_temperature_tuning", "false"},
    {"auto_map", "{}"},
    {"bias", "false"},
    {"chunk_size_feed_forward", "0"},
    {"clip_qkv", "null"},
    {"cross_attention_hidden_size", "null"},
    {"embedding_multiplier", "1"},
    {"embedding_scale", "1"},
    {"final_logit_softcapping", "null"},
    {"is_causal", "true"},
    {"is_encoder_decoder", "false"},
    {"lm_head_bias", "false"},
    {"logit_scale", "1"},
    {"logits_scaling", "1"},
    {"mlp_bias", "false"},
    {"n_routed_experts", "0"},
    {"n_shared_experts", "0"},
    {"no_bias", "true"},
    {"num_experts", "0"},
    {"num_experts_per_tok", "0"},
    {"num_local_experts", "0"},
    {"num_nextn_predict_layers", "0"},
    {"parallel_attn", "false"},
    {"partial_rotary_factor", "1"},
    {"pretraining_tp", "1"},
    {"pruned_heads", "{}"},
    {"qk_layernorm", "false"},
    {"qk_norm", "false"},
    {"qkv_bias", "false"},
    {"quantization", "null"},
    {"quantization_config", "null"},
    {"residual_multiplier", "1"},
    {"rope_interleave", "false"},
    {"rope_interleaved", "false"},
    {"rope_ratio", "1"},
    {"rope_traditional", "false"},
    {"rope_type", "\"default\""},
    {"rotary_pct", "1"},
    {"scale_emb", "1"},
    {"tie_encoder_decoder", "false"},
    {"use_bias", "false"},
    {"use_bidirectional_attention", "false"},
    {"use_mrope", "false"},
    {"use_parallel_residual", "false"},
    {"use_qk_norm", "false"},
    {"use_qkv_bias", "false"},
    {"use_scaled_rope", "false"},
    {"use_sliding_window", "false"},
};

const Neutral* neutral_of(std::string_view key) {
  return std::find_if(std::begin(kNeutral), std::end(kNeutral), [&](const Neutral& entry) { return entry.key == key; });
}

template <class Range>
bool contains(const Range& keys, std::string_view key) {
  return std::find(std::begin(keys), std::end(keys), key) != std::end(keys);
}

// Dropout acts in training alone.
bool is_dropout(std::string_view key) {
  return key.find("dropout") != std::string_view::npos || key.ends_with("_pdrop");
}

bool is_number_near(const json& value, double expected) {
  return value.is_number() && std::abs(value.get<double>() - expected) <= 1e-6 * std::abs(expected);
}

// Whether a value is a list of equal entries, one a layer.
bool is_for_every_layer(const json& value, const json& entry, std::int32_t num_layers) {
  return value.is_array() && static_cast<std::int64_t>(value.size()) == num_layers &&
         std::all_of(value.begin(), value.end(), [&](const json& item) { return item == entry; });
}

// Checks settings that repeat the shape against it.
bool check_against_shape(const Fields& fields, const std::string& key, const json& value, const ModelConfig& config) {
  const auto require = [&](bool is_neutral, const std::string& expected) {
    if (!is_neutral) fields.refuse(Status::unsupported, key, expected);
    return true;
  };
  if (key == "query_pre_attn_scalar" || key == "rotary_dim") {
    return require(is_number_near(value, config.head_dim), "head_dim, " + std::to_string(config.head_dim));
  }
  if (key == "attention_multiplier") {
    return require(is_number_near(value, 1 / std::sqrt(static_cast<double>(config.head_dim))),
                   "1 / sqrt(head_dim) with a head_dim of " + std::to_string(config.head_dim));
  }
  if (key == "layer_types") {
    return require(is_for_every_layer(value, "full_attention", config.num_layers),
                   "full_attention for each of " + std::to_string(config.num_layers) + " layers");
  }
  if (key == "no_rope_layers") {  // 1: the layer rotates
    return require(is_for_every_layer(value, 1, config.num_layers),
                   "1 for each of " + std::to_string(config.num_layers) + " layers");
  }
  if (key == "hidden_activation") return require(value == "silu" || value == "swish", "silu");
  if (key == "original_max_position_embeddings") {
    const RopeScaling& scaling = config.rope_scaling;
    const std::int32_t expected = scaling.kind == RopeScaling::Kind::llama3 ? scaling.original_max_position_embeddings
                                                                            : config.max_position_embeddings;
    return require(value == expected, std::to_string(expected));
  }
  return false;
}

// Refuses an attention window, unless the file switches it off. Mistral has no such switch.
bool check_window(const Fields& fields, const std::string& key, const ModelConfig& config) {
  if (key != "sliding_window") return false;
  const json* is_used = fields.find("use_sliding_window");
  if (config.is_mistral || is_used == nullptr || *is_used != false) fields.refuse(Status::unsupported, key, "null");
  return true;
}

}  // namespace

void require_known_keys(const Fields& fields, const ModelConfig& config) {
  if (config.is_mistral && !fields.object().contains("sliding_window")) {
    fields.refuse(Status::unsupported, "sliding_window", "null; where it is missing, Mistral's is 4096");
  }
  for (const auto& [key, value] : fields.object().items()) {
    if (value.is_null() || contains(kHonoured, key) || contains(kWithoutEffect, key) || is_dropout(key)) continue;
    if (check_window(fields, key, config) || check_against_shape(fields, key, value, config)) continue;
    const auto* neutral = neutral_of(key);
    if (neutral == std::end(kNeutral)) fields.refuse_unknown(key);
    if (value != json::parse(neutral->value)) fields.refuse(Status::unsupported, key, std::string(neutral->value));
  }
}

}  // namespace hashevict::engine
