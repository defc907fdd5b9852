// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/decoder.hpp"
#include "engine/random_checkpoint.hpp"

namespace hashevict::engine {

/// The shape of a small model with two layers, GQA, Llama 3's rotary scaling and a separate output matrix. No extent is
/// a multiple of a vector or a panel.
ModelConfig odd_config();

/// The model of a checkpoint of random weights.
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

}  // namespace hashevict::engine
