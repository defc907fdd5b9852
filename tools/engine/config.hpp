// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/status.hpp>
#include <optional>
#include <string_view>
#include <vector>

namespace hashevict::engine {

/// The scaling of rotary frequencies for contexts longer than those of the first training.
struct RopeScaling {
  enum class Kind { none, linear, llama3 };
  Kind kind = Kind::none;
  float factor = 1;
  float low_freq_factor = 1;                             ///< llama3 only
  float high_freq_factor = 4;                            ///< llama3 only
  std::int32_t original_max_position_embeddings = 8192;  ///< llama3 only
};

/// The shape of a Llama, read from `config.json`.
struct ModelConfig {
  std::int32_t num_layers = 0;
  std::int32_t num_qo_heads = 0;
  std::int32_t num_kv_heads = 0;
  std::int32_t head_dim = 0;
  std::int32_t hidden_size = 0;
  std::int32_t intermediate_size = 0;
  std::int32_t vocab_size = 0;
  std::int32_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-6F;
  float rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  bool is_mistral = false;  ///< fields that the file omits have Mistral's defaults
  std::optional<std::int32_t> bos_token;
  std::vector<std::int32_t> eos_tokens;  ///< ids within the vocabulary
};

/// Reads a Hugging Face `config.json`. Accepts fields that the decoder honours and fields known to change nothing here.
/// Refuses any other by name, so that no setting is ignored unnoticed.
/// @param source stands in messages for the file's name
/// @throws Error invalid_data or unsupported, naming the field, its value and what is expected
ModelConfig parse_model_config(std::string_view text, std::string_view source);

/// Reads such a file. @throws Error
ModelConfig load_model_config(const std::filesystem::path& path);

/// Replaces the begin and end tokens of `config.json` by those that a `generation_config.json` names. Ignores its other
/// fields: the caller decides how tokens are sampled.
/// @throws Error invalid_data
void apply_generation_config(std::string_view text, std::string_view source, ModelConfig& config);

}  // namespace hashevict::engine
