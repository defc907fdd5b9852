// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

namespace hashevict::bench {

/// The peer of the code scan: FAISS's exhaustive binary index, on one thread like our scan of a head. FAISS finds the
/// nearest code, our scan the farthest; the work is the same.
class BinaryFlat {
 public:
  static bool available();  ///< whether the build found FAISS
  BinaryFlat(int32_t bits, int64_t num_codes, const uint8_t* codes);
  ~BinaryFlat();
  BinaryFlat(const BinaryFlat&) = delete;
  BinaryFlat& operator=(const BinaryFlat&) = delete;

  int64_t nearest(const uint8_t* probe);

 private:
  struct Index;
  std::unique_ptr<Index> index_;
};

}  // namespace hashevict::bench
