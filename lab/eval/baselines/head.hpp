// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hashevict::lab::baselines {

/// A token that arrives at a head, with the group's queries.
struct Token {
  int32_t position;
  int32_t id;            ///< in the vocabulary
  const float* queries;  ///< `[group_size, head_dim]`
  const float* key;      ///< `[head_dim]`
  const float* value;    ///< `[head_dim]`
};

/// Keys and values of one KV head in fp32, in slots like the library's, with the data that scorers need.
class Head {
 public:
  /// @param max_slots the most slots that the head ever holds
  Head(int64_t head_dim, int64_t group_size, size_t max_slots)
      : head_dim_(head_dim),
        group_size_(group_size),
        max_slots_(max_slots),
        keys_(width() * max_slots),
        values_(width() * max_slots),
        unit_sum_(width()) {}

  size_t length() const { return positions_.size(); }
  int64_t head_dim() const { return head_dim_; }
  int64_t group_size() const { return group_size_; }
  std::span<const int32_t> positions() const { return positions_; }  ///< by slot
  std::span<const int32_t> token_ids() const { return token_ids_; }  ///< by slot
  std::span<const float> key_norms() const { return key_norms_; }    ///< by slot
  std::span<const float> unit_key_sum() const { return unit_sum_; }  ///< of all slots' keys, each at length 1
  void copy_key(size_t slot, float* key) const;

  void append(const Token& token);
  void overwrite(size_t slot, const Token& token);
  /// Keeps these slots, in this order.
  void keep(const std::vector<size_t>& slots);

  /// Multiplies dense rows `x [rows, head_dim]` by the key of every slot: `out [rows, length]`.
  void multiply_keys(const float* x, int64_t rows, std::vector<float>& out) const;

  /// Computes attention of the group's queries over all slots. @param out `[group_size, head_dim]`; may be null
  /// @return weights by slot, averaged over the group; valid until the next call
  std::span<const float> attend(const float* queries, float* out);

 private:
  size_t width() const { return static_cast<size_t>(head_dim_); }
  void store(size_t slot, const Token& token);

  int64_t head_dim_, group_size_;
  size_t max_slots_;
  std::vector<float> keys_;    // [head_dim, max_slots], so that compilers vectorise over slots
  std::vector<float> values_;  // [max_slots, head_dim]
  std::vector<int32_t> positions_, token_ids_;
  std::vector<float> key_norms_;
  std::vector<float> unit_sum_;
  std::vector<float> logits_, weights_;
};

}  // namespace hashevict::lab::baselines
