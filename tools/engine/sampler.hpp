// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/status.hpp>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace hashevict::engine {

/// Options of sampling.
struct SamplingOptions {
  float temperature = 0;   ///< 0: the most likely token (the smallest id among equals)
  std::int32_t top_k = 0;  ///< > 0: only the k most likely
  float top_p = 1;         ///< < 1: only the most likely that together reach this probability, at least one
  std::uint64_t seed = 0;
};

/// Chooses tokens. The same logits and seed give the same tokens on every platform.
class Sampler {
 public:
  /// @throws Error for options out of range
  explicit Sampler(const SamplingOptions& options);

  /// @param logits `[vocab_size]`. @throws Error if one of them is not finite
  std::int32_t sample(std::span<const float> logits);

 private:
  std::int32_t choose();

  SamplingOptions options_;
  std::mt19937_64 generator_;
  std::vector<std::pair<float, std::int32_t>> candidates_;
};

/// Returns the most likely token, the smallest id among equals. @throws Error if a logit is not finite
std::int32_t greedy(std::span<const float> logits);

/// Computes `-log softmax(logits)[target]`, in nats, accumulated in double.
/// @throws Error for a target out of range, or a logit that is not finite
double negative_log_likelihood(std::span<const float> logits, std::int32_t target);

}  // namespace hashevict::engine
