// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <vector>

#include "engine/config.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::cli {

/// Projections, centres and shares of the slots for each layer, which the preset `recall` needs. They are learned for
/// one model (`lab/train/calibrate.py`). A safetensors file with `layers.<i>.projection [num_kv_heads, bits,
/// head_dim]`, `layers.<i>.center [num_kv_heads, head_dim]`, `layers.<i>.share [1]` (capacity, in units of the layers'
/// mean) and `layers.<i>.reach [1]` (the most slots useful to the layer, or infinity), all F32, for every layer.
class Votes {
 public:
  /// The votes of the embedded model.
  static Votes embedded(const engine::ModelConfig& model);
  /// @param model gives the number of layers and the shape of their heads
  /// @throws Error naming a tensor that is missing, has a wrong shape, is not finite, is not positive where it must be,
  /// or belongs to a layer that the model does not have
  static Votes load(const std::filesystem::path& path, const engine::ModelConfig& model);

  int32_t hash_bits() const { return hash_bits_; }
  /// Views of a layer's tensors, as in a trace: `[num_kv_heads, hash_bits, head_dim]` and `[num_kv_heads,
  /// head_dim]`.
  Tensor projection(int32_t layer) const;
  Tensor center(int32_t layer) const;
  /// Sets projections and centres of an empty cache of one sequence. @throws Error if their shapes differ
  void apply(Cache& cache) const;
  /// Divides the slots that `config.shape.capacity` gives to all layers by their shares. No layer gets more than its
  /// reach or `num_tokens`; the others divide the rest. If all layers reach their limits, divides the remaining slots
  /// by the shares again, up to `num_tokens`.
  void divide(Config& config, int64_t num_tokens) const;
  /// All numbers, layer by layer: projection, centre, share, reach.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const Layer& layer : layers_) {
      for (const float value : layer.projection) visit(value);
      for (const float value : layer.center) visit(value);
      visit(layer.share);
      visit(layer.reach);
    }
  }
  /// Adds projections and centres to a trace for `replay`, under the same names, without copying them.
  void add_to(engine::SafetensorsWriter& writer) const;

 private:
  Votes(const engine::Safetensors& source, const engine::ModelConfig& model);

  struct Layer {
    std::vector<float> projection, center;
    float share = 1.0F, reach = 1.0F;
  };
  std::vector<Layer> layers_;
  int32_t hash_bits_ = 0;
  int64_t num_kv_heads_, num_qo_heads_, head_dim_;
};

/// Whether a cache of this config takes votes: the command uses centring FIXED for nothing else.
inline bool takes_votes(const Config& config) {
  return config.rule.centering == Centering::fixed;
}

}  // namespace hashevict::cli
