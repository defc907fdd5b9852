// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.hpp"

namespace hashevict::cli {

/// The tensors `layers.<i>.<part>` of a safetensors file, sorted by layer: what traces, profiles and votes are read
/// from. All messages begin with the file's name. Refers to the file's tensors.
class LayerFile {
 public:
  /// Whether names that do not begin with `layers.` are passed over.
  enum class Others { ignored, refused };

  /// @param parts the names that may follow `layers.<i>.`; any other is refused, since a misspelled optional tensor
  ///        would be ignored unnoticed
  /// @throws Error invalid_data for such a name, and for layers with a gap
  LayerFile(const engine::Safetensors& file, std::span<const std::string_view> parts, Others others);

  int32_t num_layers() const { return static_cast<int32_t>(layers_.size()); }
  /// Returns NULL if the layer has no such part.
  const engine::StoredTensor* find(int32_t layer, std::string_view part) const;
  /// @throws Error invalid_data if the layer has no such part
  const engine::StoredTensor& at(int32_t layer, std::string_view part) const;

  /// @throws Error invalid_data with the message if the condition does not hold
  void require(bool condition, const std::string& message) const;
  void require_shape(const engine::StoredTensor& tensor, const std::vector<int64_t>& expected) const;
  void require_finite(const engine::StoredTensor& tensor) const;
  /// Requires F32 and finite elements, as everything that was learned is.
  void require_learned(const engine::StoredTensor& tensor) const;
  /// The same of a shape.
  void require_learned(const engine::StoredTensor& tensor, const std::vector<int64_t>& expected) const;
  /// Requires a learned projection, `[hash_bits, head_dim]` or `[num_kv_heads, hash_bits, head_dim]`.
  void require_projection(const engine::StoredTensor& tensor, int64_t num_kv_heads, int64_t head_dim) const;
  /// Requires weights and biases of importances together, `[num_kv_heads, head_dim]` and `[num_kv_heads]`, or neither.
  void require_importance_weights(int32_t layer, int64_t num_kv_heads, int64_t head_dim) const;

 private:
  using Parts = std::map<std::string_view, const engine::StoredTensor*>;

  std::string source_;
  std::map<int32_t, Parts> layers_;
};

}  // namespace hashevict::cli
