// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/cache.hpp>
#include <vector>

#include "engine/config.hpp"
#include "engine/safetensors.hpp"

namespace hashevict::eval {

/// What the preset `recall` needs: projections, centres and how layers divide the slots, learned for one model
/// (`tools/train/calibrate.py`). A safetensors file with `layers.<i>.projection [num_kv_heads, bits, head_dim]`,
/// `layers.<i>.center [num_kv_heads, head_dim]`, `layers.<i>.share [1]` (capacity, in units of the layers' mean) and
/// `layers.<i>.reach [1]` (slots of which the layer has use, or infinity), all F32, for every layer.
class Votes {
 public:
  /// Those of the embedded model.
  static Votes embedded(const engine::ModelConfig& model);
  /// @param model of which the layers and the shape of their heads are read
  /// @throws Error naming the tensor that is missing, of another shape than the model asks for, not positive where it
  /// must be, or of a layer that the model does not have
  static Votes load(const std::filesystem::path& path, const engine::ModelConfig& model);

  int32_t hash_bits() const { return hash_bits_; }
  /// Views of a layer's own, as a trace holds them: `[num_kv_heads, hash_bits, head_dim]` and `[num_kv_heads,
  /// head_dim]`.
  Tensor projection(int32_t layer) const;
  Tensor center(int32_t layer) const;
  /// Gives them to a cache whose sequences are empty. @throws Error if it was not made for them
  void apply(Cache& cache) const;
  /// Divides the slots that `config.capacity` gives to all layers among them by their shares, none of them getting more
  /// than its reach or than a sequence of `num_tokens` can use: what it leaves goes to the others. What all leave is
  /// divided by the shares again, up to `num_tokens`.
  void divide(Config& config, int64_t num_tokens) const;
  /// Every number of them, layer by layer: projection, centre, share, reach.
  template <class Visit>
  void for_each(const Visit& visit) const {
    for (const Layer& layer : layers_) {
      for (const float value : layer.projection) visit(value);
      for (const float value : layer.center) visit(value);
      visit(layer.share);
      visit(layer.reach);
    }
  }
  /// Adds projections and centres to a trace for `replay`, under the names that they have here. They are not copied.
  void add_to(engine::SafetensorsWriter& writer) const;

 private:
  Votes(const engine::Safetensors& file, const engine::ModelConfig& model);

  struct Layer {
    std::vector<float> projection, center;
    float share = 1.0F, reach = 1.0F;
  };
  std::vector<Layer> layers_;
  int32_t hash_bits_ = 0;
  int64_t num_kv_heads_, num_qo_heads_, head_dim_;
};

/// Whether a cache of this config is to be given votes: what centring FIXED is used for here.
inline bool takes_votes(const Config& config) {
  return config.centering == Centering::fixed;
}

}  // namespace hashevict::eval
