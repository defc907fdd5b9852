// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
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
  /// Throws if the memory may not be used.
  using Admit = std::function<void(std::uint64_t bytes)>;

  /// Copies the weights of a checkpoint, which may then be closed.
  /// @throws Error for a tensor that is missing, not finite or not of the config's shape, or a weight that this decoder
  /// does not use
  Model(ModelConfig config, const TensorTable& tensors);

  /// Loads `config.json`, `generation_config.json` if it exists, and `model.safetensors`, or the shards that
  /// `model.safetensors.index.json` names.
  /// @param path the folder, or the safetensors or index file itself, with `config.json` beside it
  /// @param admit called before any weight is read, with the bytes that the weights take at least; may throw
  /// @throws Error, also for a folder with an adapter, which is not applied
  static Model load(const std::filesystem::path& path, const Admit& admit = {});

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

/// Estimates from below the bytes that a model needs for the weights of a checkpoint. Reads no weight.
/// @param is_tied the output matrix is the embedding, and one that is stored nevertheless is not copied
std::uint64_t weight_bytes(const TensorTable& tensors, bool is_tied);

}  // namespace hashevict::engine
