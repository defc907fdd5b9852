// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <optional>
#include <vector>

#include "engine/config.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::cli {

/**
 * What a calibration learned of one model's heads. A safetensors file with, for every layer i:
 *  - `layers.i.quantiles` `[num_kv_heads, num_quantiles]`: of the importance of each head's keys, ascending, entry j at
 *    level j / (num_quantiles - 1), comparable across heads and layers;
 *  - optionally `layers.i.importance.weight` `[num_kv_heads, head_dim]` and `layers.i.importance.bias`
 *    `[num_kv_heads]`, for policy importance;
 *  - optionally `layers.i.projection` `[bits, head_dim]` or `[num_kv_heads, bits, head_dim]`, and `layers.i.center`
 *    `[num_kv_heads, head_dim]`, for policy votes.
 * All F32 and finite. The optional ones are in all layers or in none. The file holds nothing else.
 */
class Profile {
 public:
  /// The profile of the embedded model.
  static Profile embedded(const engine::ModelConfig& model);
  /// @param model gives the number of layers and the shape of their heads
  /// @throws Error invalid_data naming the file, the tensor, what it holds and what is expected
  static Profile load(const std::filesystem::path& path, const engine::ModelConfig& model);

  bool has_importance() const { return !layers_.front().importance_bias.empty(); }
  bool has_projection() const { return hash_bits_ > 0; }

  /// Whether a cache under this rule takes learned tensors of the profile: policy importance its weights, policy votes
  /// its projections.
  bool teaches(const Config& config) const;
  /// Sets what a rule that is taught must say of the learned tensors: their source and kind.
  /// @throws Error invalid_argument, naming the option, for a rule with another number of bits or another centring
  void configure(Config& config) const;
  /// Sets the learned tensors of an empty cache of one sequence whose rule is taught.
  void apply(Cache& cache) const;
  /// Adds the learned tensors that a rule takes to a trace for `replay`, without copying them.
  void add_to(engine::SafetensorsWriter& writer, const Config& config) const;

  /// Divides the slots that `config.shape.capacity` gives to all heads by the importance of their keys, up to
  /// `num_tokens` a head (hashevict_divide_slots()).
  /// @param floor the fewest slots of a head, or none: a third of the mean; raised to what the rule needs, lowered to
  /// `num_tokens`
  /// @throws Error invalid_argument if the mean is below the floor
  void divide(Config& config, int64_t num_tokens, std::optional<int32_t> floor) const;

  /// @name Views of the learned tensors of layer `index`, empty where the profile has none
  /// @{
  Tensor projection(int32_t index) const;
  Tensor center(int32_t index) const;
  Tensor importance_weight(int32_t index) const;
  Tensor importance_bias(int32_t index) const;
  /// @}

 private:
  Profile(const engine::Safetensors& source, const engine::ModelConfig& model);

  struct Layer {
    std::vector<float> importance_weight, importance_bias, projection, center;
  };
  const Layer& layer(int32_t index) const { return layers_.at(static_cast<size_t>(index)); }

  int64_t num_kv_heads_, num_qo_heads_, head_dim_;
  int64_t num_quantiles_ = 0;
  std::vector<float> quantiles_;  // [num_layers, num_kv_heads, num_quantiles]
  std::vector<Layer> layers_;
  int32_t hash_bits_ = 0;     // of the projections; 0 without
  bool per_head_ = false;     // whether each head has a projection of its own
  bool has_centers_ = false;  // beside the projections
};

/// The fewest slots of a head that a rule takes: its sinks, its recent window and one more.
/// @param most returned if no smaller number will do
int32_t least_capacity(const Rule& rule, int32_t most);

}  // namespace hashevict::cli
