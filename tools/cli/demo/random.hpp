// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace hashevict::cli {

/// A seeded generator (xoshiro256**) whose draws are the same on every platform, unlike those of <random>.
class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t next();

  /// Uniform in `[0, bound)`; `bound` is at least 1.
  uint64_t below(uint64_t bound);

  /// Uniform in `[low, high]`.
  int64_t between(int64_t low, int64_t high);

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace hashevict::cli
