// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/decoder.hpp"

namespace hashevict::engine {

/// The shape of a small model with two layers, GQA, Llama 3's rotary scaling and a separate output matrix. No extent is
/// a multiple of a vector or a panel.
ModelConfig odd_config();

/// A checkpoint of seeded random weights.
class RandomCheckpoint {
 public:
  /// @param type F32, F16 or BF16, of all weights
  RandomCheckpoint(const ModelConfig& config, ElementType type, std::uint64_t seed);

  const StoredTensor* find(std::string_view name) const;
  const std::map<std::string, StoredTensor, std::less<>>& tensors() const { return tensors_; }
  /// Valid as long as the checkpoint.
  TensorTable table() const;
  StoredTensor& tensor(const std::string& name) { return tensors_.at(name); }

 private:
  std::map<std::string, std::vector<std::byte>> data_;
  std::map<std::string, StoredTensor, std::less<>> tensors_;
};

/// The model of such a checkpoint.
Model random_model(const ModelConfig& config, std::uint64_t seed = 1, ElementType type = ElementType::f32);

/// A cache of a model and a decoder over it.
struct Engine {
  ThreadPool threads;
  KvCache cache;
  Decoder decoder;

  Engine(const Model& model, const hashevict::Config& config, std::int32_t num_threads = 1)
      : threads(num_threads), cache(config, threads), decoder(model, cache, threads) {}
  Engine(const Model& model, std::int32_t capacity) : Engine(model, KvCache::make_config(model.config(), capacity)) {}

  /// Streams tokens in batches of this size. @return the logits of all.
  std::vector<float> stream(std::span<const std::int32_t> tokens, std::size_t batch);
  /// Prefills a prompt. @return the logits of all its tokens.
  std::vector<float> prefill(std::span<const std::int32_t> tokens);
};

/// Draws seeded random tokens below the vocabulary's size.
std::vector<std::int32_t> random_tokens(const ModelConfig& config, std::size_t count, std::uint64_t seed = 1);

}  // namespace hashevict::engine
