// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/model.hpp"

namespace hashevict::engine {

/// The shape of a small model in which no extent is a multiple of a vector or a panel, with GQA and Llama 3's rotary
/// scaling, an output matrix of its own, and two layers.
ModelConfig odd_config();

/// A checkpoint of seeded random weights.
class RandomCheckpoint {
 public:
  /// @param type F32, F16 or BF16, of all weights
  RandomCheckpoint(const ModelConfig& config, ElementType type, std::uint64_t seed);

  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  StoredTensor& tensor(const std::string& name) { return tensors_.at(name); }

 private:
  std::map<std::string, std::vector<std::byte>> data_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

/// The model of such a checkpoint.
Model random_model(const ModelConfig& config, std::uint64_t seed = 1, ElementType type = ElementType::f32);

/// Seeded random tokens below the vocabulary's size.
std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::size_t count, std::uint64_t seed = 1);

}  // namespace hashevict::engine
