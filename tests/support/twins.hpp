// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "reference/sequence.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {

/// The oracle's settings for a KV head of a layer of a config.
reference::Settings settings_of(const Config& config, int32_t layer, int32_t kv_head = 0);
/// Those of all KV heads of a layer.
std::vector<reference::Settings> settings_of_heads(const Config& config, int32_t layer);

/// A cache and the oracle, given the same tokens. Every run expects both to agree: slots and victims exactly, attention
/// within attention_bound().
class Twins {
 public:
  Twins(Backend backend, const Config& config, Arrangement arrangement = Arrangement::owned);

  /// Runs an operation on both and compares their results for every row.
  std::vector<Outcome> run(Operation operation, const Batch& batch, const Options& options = {});

  /// Compares the state of every sequence in both: positions, codes, keys, values, lengths.
  void expect_same_state() const;

  TestCache cache;
  reference::Sequence& oracle(int32_t layer, int32_t sequence);
  /// Resets a sequence of the oracle in every layer.
  void reset_oracle(int32_t sequence);
  /// Forks a sequence of the oracle in every layer.
  void fork_oracle(int32_t source, int32_t target);

 private:
  void compare(const Row& row, const reference::Taken& taken, const Outcome& outcome, Operation operation,
               const Options& options) const;

  std::map<std::pair<int32_t, int32_t>, reference::Sequence> oracles_;
  bool keys_are_stored_ = true;  ///< false once evict() has left keys and values to the caller
};

/// The largest distance of `out[e]` of a correct fp32 implementation, rounded to `output`, from the oracle's.
double attention_bound(const reference::Attention& attention, std::size_t e, std::size_t head_dim,
                       double logit_soft_cap, DType output);
/// The same bound for the log of the softmax sum.
double lse_bound(const reference::Attention& attention, std::size_t head_dim, double logit_soft_cap);

}  // namespace hashevict::test
