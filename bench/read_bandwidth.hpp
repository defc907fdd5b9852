// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace hashevict::bench {

/// The upper bound of attention's bytes per second: threads that only read a buffer far larger than the caches, with
/// the machine's widest loads, from huge pages if available.
class ReadBandwidth {
 public:
  /// @param num_threads 0: all threads of the machine
  ReadBandwidth(int64_t bytes, int32_t num_threads);
  /// Reads the whole buffer once; the sum keeps the loads alive.
  uint64_t read_once();
  [[nodiscard]] int64_t bytes() const { return static_cast<int64_t>(num_words_ * sizeof(uint64_t)); }

 private:
  std::size_t num_threads_;
  std::size_t num_words_;
  struct Free {
    void operator()(uint64_t* words) const { std::free(words); }
  };
  std::unique_ptr<uint64_t[], Free> words_;
};

}  // namespace hashevict::bench
