// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <hashevict/tensor.hpp>
#include <utility>
#include <vector>

#include "engine/safetensors.hpp"

namespace hashevict::eval {

/// One layer of a trace: views into the file. RoPE is applied already.
struct TraceLayer {
  Tensor q;           ///< `[T, num_qo_heads, head_dim]`
  Tensor k;           ///< `[T, num_kv_heads, head_dim]`
  Tensor v;           ///< `[T, num_kv_heads, head_dim]`
  Tensor projection;  ///< F32 `[hash_bits, head_dim]` or `[num_kv_heads, hash_bits, head_dim]`, optional
  Tensor center;      ///< F32 `[num_kv_heads, head_dim]`: subtracted from keys before they are hashed; optional

  /// Rows of the projection, 0 without one.
  int64_t num_projection_rows() const { return projection.present() ? projection.shape[projection.rank - 2] : 0; }
};

/// Queries, keys and values that a model really computed for one sequence: tensors `layers.i.q`, `layers.i.k`,
/// `layers.i.v` of one float type, and optionally `layers.i.projection` and `layers.i.center`.
class Trace {
 public:
  /// Opens a file and checks all of it: names, layers without gaps, types, shapes, and that no tensor is NaN
  /// throughout.
  /// @throws Error invalid_data, naming the file and what is wrong with it
  static Trace open(const std::filesystem::path& path);

  /// Puts others in the place of what a layer brings for its codes. They are not copied.
  void set_learned(int32_t layer, const Tensor& projection, const Tensor& center);

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

}  // namespace hashevict::eval
