// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/decoder.hpp"
#include "eval/baselines/full_attention.hpp"
#include "eval/scores.hpp"
#include "policy_table.hpp"

namespace hashevict::eval {

/// The queries that a prompt is reduced by where the question is known: those of its last tokens.
inline constexpr int32_t kQuestionWindow = 32;

/// What the oracles know.
struct Futures {
  explicit Futures(const baselines::FullAttention& attention)
      : sum(attention, baselines::FutureAttention::Need::sum),
        largest(attention, baselines::FutureAttention::Need::largest) {}
  baselines::FutureAttention sum, largest;
};

/// A decoder over an empty cache of one policy, whoever evicts in it.
class PolicyRun {
 public:
  /// @param max_tokens of the longest call
  /// @param futures needed by oracles only; outlives the run
  /// @throws Error if the capacity is too small for the policy
  PolicyRun(const Runtime& runtime, const PolicyChoice& choice, int32_t capacity, int64_t max_tokens, uint64_t seed,
            const Futures* futures);

  engine::Decoder& decoder() { return *decoder_; }

  /// Takes a prompt in which the question is known.
  void prefill(std::span<const int32_t> tokens);

  /// Positions held, by layer and head: `[num_layers * num_kv_heads]`.
  std::vector<std::vector<int32_t>> held() const;

  /// NULL where the harness evicts.
  engine::KvCache* library_cache() { return library_.get(); }

 private:
  engine::PrefillOptions prefill_;
  std::unique_ptr<engine::KvCache> library_;
  std::unique_ptr<baselines::ScoredCache> scored_;
  std::optional<engine::Decoder> decoder_;
};

/// The config that all caches of the harness share: one sequence, bfloat16.
Config harness_shape(const engine::ModelConfig& model);

/// The config of a policy of the library: `capacity` slots in each layer, or as many in all, divided as was learned.
/// @param num_tokens of the sequence
Config library_config(const Runtime& runtime, const PolicyChoice& choice, int32_t capacity, int64_t num_tokens);

/// The full cache's attention over a whole sequence, every token streamed.
baselines::FullAttention record_full_attention(const Runtime& runtime, std::span<const int32_t> tokens);

}  // namespace hashevict::eval
