// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace hashevict {

/// A multiply-xor hash over 64-bit words. Each step is a bijection of the word and of the state, so any change of a
/// single word changes the hash.
class Checksum {
 public:
  void add(const std::byte* data, uint64_t bytes) {
    while (bytes > 0) {
      uint64_t word = 0;
      const uint64_t taken = std::min<uint64_t>(bytes, sizeof word);
      std::memcpy(&word, data, taken);
      state_ = std::rotl((state_ ^ word) * 0x9E3779B97F4A7C15ULL, 29);
      data += taken;
      bytes -= taken;
    }
  }
  [[nodiscard]] uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325ULL;
};

/// Checksum of one of a layer's parameters, as stored in the state.
inline uint64_t parameter_checksum(std::span<const float> parameter) {
  Checksum checksum;
  checksum.add(reinterpret_cast<const std::byte*>(parameter.data()), parameter.size_bytes());
  return checksum.value();
}

}  // namespace hashevict
