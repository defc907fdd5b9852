// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace hashevict::core {

/// The pages that one check has met: a hash table with open addressing. It has memory for the most pages of any check
/// from the start, so that calls allocate nothing.
class PageSet {
 public:
  /// @param most pages of one check
  explicit PageSet(int64_t most)
      : entries_(std::bit_ceil(std::max<std::size_t>(2, 2 * static_cast<std::size_t>(most)))),
        shift_{64 - std::countr_zero(entries_.size())} {}

  /// Forgets all pages, in constant time except once in 2^32 calls.
  void clear() {
    if (++round_ != 0) return;
    std::fill(entries_.begin(), entries_.end(), Entry{});
    round_ = 1;
  }
  /// @return whether the page is new
  bool insert(int32_t page) {
    constexpr uint64_t kGoldenRatio = 0x9E3779B97F4A7C15;
    auto i = static_cast<std::size_t>((static_cast<uint64_t>(page) * kGoldenRatio) >> shift_);
    for (; entries_[i].round == round_; i = (i + 1) & (entries_.size() - 1)) {
      if (entries_[i].page == page) return false;
    }
    entries_[i] = {round_, page};
    return true;
  }

 private:
  struct Entry {
    uint32_t round = 0;  ///< the check that stored it; entries of other checks are free
    int32_t page = 0;
  };
  std::vector<Entry> entries_;  ///< a power of two, at least twice the pages of a check
  int shift_;
  uint32_t round_ = 1;
};

}  // namespace hashevict::core
