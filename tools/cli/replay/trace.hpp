// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/tensor.hpp>
#include <utility>
#include <vector>

#include "engine/safetensors.hpp"

namespace hashevict::cli {

/// One layer of a trace: views into the file. RoPE is applied already.
struct TraceLayer {
  Tensor q;           ///< `[T, num_qo_heads, head_dim]`
  Tensor k;           ///< `[T, num_kv_heads, head_dim]`
  Tensor v;           ///< `[T, num_kv_heads, head_dim]`
  Tensor projection;  ///< F32 `[hash_bits, head_dim]` or `[num_kv_heads, hash_bits, head_dim]`, optional
  Tensor center;      ///< F32 `[num_kv_heads, head_dim]`: subtracted from keys before they are hashed; optional

  // For policy importance, all optional: each token's importance, or the weights that give it.
  Tensor importance;         ///< F32 `[T, num_kv_heads]`
  Tensor importance_slope;   ///< F32 `[T, num_kv_heads]`: the change of each importance per later token
  Tensor importance_weight;  ///< F32 `[num_kv_heads, head_dim]`, with importance_bias and instead of importance
  Tensor importance_bias;    ///< F32 `[num_kv_heads]`

  /// Rows of the projection, 0 without one.
  int64_t num_projection_rows() const { return projection.present() ? projection.shape[projection.rank - 2] : 0; }
};

/// Whether a trace's projections and centres are read.
enum class Learned { read, passed_over };

/// Queries, keys and values that a model computed for one sequence: tensors `layers.i.q`, `layers.i.k`,
/// `layers.i.v` of one float type, and optionally `layers.i.projection`, `layers.i.center`, `layers.i.importance`,
/// `layers.i.importance_slope`, `layers.i.importance.weight` and `layers.i.importance.bias`. Tensors whose names do not
/// begin with `layers.` are ignored.
class Trace {
 public:
  /// Opens a file and checks it: names, layers without gaps, types, shapes, and that every element is finite.
  /// @throws Error invalid_data, naming the file and what is wrong with it
  static Trace open(const std::filesystem::path& path, Learned learned = Learned::read);

  /// Replaces a layer's projection and centre, without copying them.
  void set_learned(int32_t layer, const Tensor& projection, const Tensor& center);
  /// Replaces all that a layer brings of importances, slopes included, by weights, without copying them.
  void set_importance_weights(int32_t layer, const Tensor& weight, const Tensor& bias);

  const std::vector<TraceLayer>& layers() const { return layers_; }
  int64_t num_tokens() const { return layers_.front().q.shape[0]; }
  int32_t num_layers() const { return static_cast<int32_t>(layers_.size()); }
  int32_t num_qo_heads() const { return static_cast<int32_t>(layers_.front().q.shape[1]); }
  int32_t num_kv_heads() const { return static_cast<int32_t>(layers_.front().k.shape[1]); }
  int32_t head_dim() const { return static_cast<int32_t>(layers_.front().q.shape[2]); }
  DType dtype() const { return layers_.front().q.element_type(); }

 private:
  explicit Trace(engine::Safetensors file) : file_(std::move(file)) {}

  engine::Safetensors file_;
  std::vector<TraceLayer> layers_;
};

}  // namespace hashevict::cli
