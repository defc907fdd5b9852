// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "engine/model.hpp"

namespace hashevict::bench {

/// The shape of a model of 135 million parameters.
engine::ModelConfig small_model_config();

/// A checkpoint of random bfloat16 weights for such a shape.
class RandomCheckpoint {
 public:
  explicit RandomCheckpoint(const engine::ModelConfig& model);

  /// Views of the weights, which the checkpoint owns.
  [[nodiscard]] engine::TensorTable table() const;

 private:
  void add(const std::string& name, std::vector<int64_t> shape);

  std::mt19937 generator_{20261129};
  std::map<std::string, std::vector<std::byte>> data_;
  std::map<std::string, engine::StoredTensor, std::less<>> tensors_;
};

/// The same tokens in every run.
std::vector<int32_t> random_tokens(std::size_t count, int32_t vocab_size);

}  // namespace hashevict::bench
