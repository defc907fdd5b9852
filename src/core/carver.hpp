// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "core/failure.hpp"
#include "core/settings.hpp"
#include "hashevict/hashevict.h"

namespace hashevict::core {

/// Fails if a size exceeds 62 bits, far above any address. Two sizes below that add without overflow.
inline void check_size(bool fits) {
  require(fits,
          "config: the cache would take 2^62 bytes or more: expected smaller num_layers, num_sequences, "
          "num_kv_heads or capacities");
}

/// Product of sizes.
inline uint64_t checked_product(std::initializer_list<int64_t> factors) {
  uint64_t result = 1;
  for (const int64_t factor : factors) {
    uint64_t next = 0;
    const bool overflow = __builtin_mul_overflow(result, static_cast<uint64_t>(factor), &next);
    check_size(!overflow && next < (uint64_t{1} << 62));
    result = next;
  }
  return result;
}

/// Sum of two checked sizes.
inline uint64_t checked_sum(uint64_t a, uint64_t b) {
  check_size(a + b < (uint64_t{1} << 62));
  return a + b;
}

/// Places parts one behind the other, each aligned; offsets count bytes. The same code measures and carves.
class Carver {
 public:
  /// Offset of a part of `count * sizeof(T)` bytes.
  template <class T>
  uint64_t take(std::initializer_list<int64_t> extents) {
    const uint64_t offset = end_;
    const uint64_t bytes = checked_product({static_cast<int64_t>(checked_product(extents)), sizeof(T)});
    end_ = checked_sum(end_, static_cast<uint64_t>(round_up(static_cast<int64_t>(bytes), HASHEVICT_ALIGNMENT)));
    return offset;
  }
  [[nodiscard]] uint64_t end() const { return end_; }

 private:
  uint64_t end_ = 0;
};

/// The part at `offset` from `base`.
template <class T>
T* part_at(void* base, uint64_t offset) {
  return reinterpret_cast<T*>(static_cast<unsigned char*>(base) + offset);
}

}  // namespace hashevict::core
