// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "core/splits.hpp"
#include "cpu/workspace.hpp"

namespace hashevict::cpu {

/// The order in which workers take the heads of a layer, and the splits of their attention: those with most slots come
/// first, so that no worker is left with a long head at the end.
class Schedule {
 public:
  explicit Schedule(std::span<const core::HeadSettings> heads) : heads_(heads.size()), first_splits_(heads.size()) {
    std::iota(heads_.begin(), heads_.end(), 0);
    const auto capacity = [&](int32_t kv_head) { return heads[static_cast<std::size_t>(kv_head)].capacity; };
    std::sort(heads_.begin(), heads_.end(),
              [&](int32_t a, int32_t b) { return capacity(a) != capacity(b) ? capacity(a) > capacity(b) : a < b; });
    for (const int32_t kv_head : heads_) {
      first_splits_[static_cast<std::size_t>(kv_head)] = static_cast<int32_t>(splits_.size());
      core::add_splits(kv_head, capacity(kv_head), kSplitSlots, splits_);
    }
    most_splits_ = num_splits(capacity(heads_.front()));
  }

  [[nodiscard]] std::span<const int32_t> heads() const { return heads_; }
  /// Every split of every head, those of a head side by side.
  [[nodiscard]] std::span<const core::Split> splits() const { return splits_; }
  /// Index of a head's first split in splits().
  [[nodiscard]] int32_t first_split(int32_t kv_head) const { return first_splits_[static_cast<std::size_t>(kv_head)]; }
  /// Splits of the head that has most.
  [[nodiscard]] int32_t most_splits() const { return most_splits_; }

 private:
  std::vector<int32_t> heads_;
  std::vector<int32_t> first_splits_;
  std::vector<core::Split> splits_;
  int32_t most_splits_;
};

}  // namespace hashevict::cpu
