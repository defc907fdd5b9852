// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "model.hpp"

namespace hashevict::engine {

/// A checkpoint of seeded random weights, for tests and benchmarks. Weights are multiples of 1/64 below 4, so that
/// every type holds them exactly; norms lie around 1, the elements of a matrix within 2 / sqrt(inputs).
class RandomCheckpoint {
 public:
  /// @param type f32, f16 or bf16, of all weights
  RandomCheckpoint(const ModelConfig& config, ElementType type, std::uint64_t seed);

  /// nullptr if there is no such tensor.
  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  StoredTensor& tensor(const std::string& name) { return tensors_.at(name); }
  /// Views of the weights, which the checkpoint owns.
  TensorTable table() const;

 private:
  std::map<std::string, std::vector<std::byte>> data_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

/// Draws seeded random tokens below the vocabulary's size.
std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::size_t count, std::uint64_t seed = 1);

}  // namespace hashevict::engine
