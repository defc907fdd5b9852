// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"
#include "matmul.hpp"
#include "safetensors.hpp"

namespace hashevict::engine {

/// The weights of one transformer layer, in the order they are used.
struct LayerWeights {
  std::vector<float> attention_norm;
  PackedMatrix query_key_value;  ///< the three projections stacked: one product for all
  PackedMatrix attention_output;
  std::vector<float> mlp_norm;
  PackedMatrix gate_up;  ///< gate and up projections stacked
  PackedMatrix down;
};

/// A Llama's weights, ready to multiply. Immutable, so any number of decoders may share one.
class Model {
 public:
  /// Finds a tensor by its checkpoint name, NULL if there is none.
  using Find = std::function<const StoredTensor*(std::string_view name)>;

  /// Takes the weights out of a checkpoint. They are copied; nothing of the checkpoint is kept.
  /// @throws Error for a tensor that is missing or of another shape than the config says
  Model(ModelConfig config, const Find& find);

  /// Loads `config.json` and `model.safetensors`, or the shards that `model.safetensors.index.json` names.
  /// @param path the folder, or the safetensors or index file itself, with `config.json` beside it. @throws Error
  static Model load(const std::filesystem::path& path);

  const ModelConfig& config() const { return config_; }
  std::int64_t num_parameters() const { return num_parameters_; }

  const std::vector<LayerWeights>& layers() const { return layers_; }
  const std::vector<float>& final_norm() const { return final_norm_; }
  const PackedMatrix& output() const { return config_.tie_word_embeddings ? embedding_ : output_; }
  /// Rotary frequency of each pair of elements, scaling applied: `[head_dim / 2]`.
  const std::vector<float>& rope_frequencies() const { return rope_frequencies_; }

  const PackedMatrix& embedding() const { return embedding_; }

 private:
  ModelConfig config_;
  std::int64_t num_parameters_ = 0;
  PackedMatrix embedding_;
  std::vector<LayerWeights> layers_;
  std::vector<float> final_norm_;
  PackedMatrix output_;  // empty if tied to the embedding
  std::vector<float> rope_frequencies_;
};

}  // namespace hashevict::engine
