// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <vector>

#include "safetensors.hpp"

namespace hashevict::engine {

/// The tensors of a model, from one safetensors file or from the shards that an index names. The shards must hold every
/// tensor that the index lists; tensors that it does not list are found too.
class Checkpoint {
 public:
  /// @param path a safetensors file, an index file, or a folder: its `model.safetensors`, or else the shards that its
  /// `model.safetensors.index.json` names. @throws Error invalid_data
  explicit Checkpoint(const std::filesystem::path& path);

  /// All tensors, valid as long as the checkpoint.
  const TensorTable& tensors() const { return tensors_; }

 private:
  void open_index(const std::filesystem::path& path);

  std::vector<Safetensors> shards_;
  TensorTable tensors_;
};

}  // namespace hashevict::engine
