// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "safetensors.hpp"

namespace hashevict::engine {

/// The tensors of a model in one safetensors file, or in the shards that `model.safetensors.index.json` names.
class Checkpoint {
 public:
  /// @param path a safetensors file, an index file, or the folder of either. @throws Error invalid_data
  explicit Checkpoint(const std::filesystem::path& path);

  /// NULL if there is none of that name. Valid as long as the checkpoint.
  const StoredTensor* find(std::string_view name) const;

 private:
  void open_index(const std::filesystem::path& path);

  std::vector<Safetensors> shards_;
  std::map<std::string, const StoredTensor*, std::less<>> tensors_;
};

}  // namespace hashevict::engine
