// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "reference/sequence.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {

/// What the oracle needs to know of a config.
reference::Settings settings_of(const Config& config, int32_t layer);

/// A cache and the oracle, fed the same tokens. Every run expects both to agree: slots and victims exactly, attention
/// within attention_bound().
class Twins {
 public:
  Twins(Backend backend, const Config& config, Arrangement arrangement = Arrangement::owned);

  /// Runs an operation on both and compares what they tell of every row.
  std::vector<Outcome> run(Operation operation, const Batch& batch, const Options& options = {});

  /// Compares everything that both hold of every sequence: positions, codes, keys, values, lengths.
  void expect_same_state() const;

  TestCache cache;
  reference::Sequence& oracle(int32_t layer, int32_t sequence);
  /// Forgets what the oracle knows of a sequence, in every layer.
  void reset_oracle(int32_t sequence);
  /// Copies the oracle's knowledge of a sequence, in every layer.
  void fork_oracle(int32_t source, int32_t target);

 private:
  void compare(const Row& row, const reference::Taken& taken, const Outcome& outcome, Operation operation,
               const Options& options) const;

  std::map<std::pair<int32_t, int32_t>, reference::Sequence> oracles_;
  bool keys_are_stored_ = true;  ///< false once evict() has left them to the caller
};

/// How far `out[e]` of a correct fp32 implementation, rounded to `output`, can be from the oracle's.
double attention_bound(const reference::Attention& attention, std::size_t e, std::size_t head_dim,
                       double logit_soft_cap, DType output);
/// The same for the log of the softmax sum.
double lse_bound(const reference::Attention& attention, std::size_t head_dim, double logit_soft_cap);

}  // namespace hashevict::test
