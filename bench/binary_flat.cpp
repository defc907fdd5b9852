// SPDX-License-Identifier: Apache-2.0
#include "binary_flat.hpp"

#ifdef HASHEVICT_HAS_FAISS
#include <faiss/IndexBinaryFlat.h>
#include <omp.h>

namespace hashevict::bench {

struct BinaryFlat::Index {
  faiss::IndexBinaryFlat flat;
};

bool BinaryFlat::available() {
  return true;
}

BinaryFlat::BinaryFlat(int32_t bits, int64_t num_codes, const uint8_t* codes)
    : index_{std::make_unique<Index>(Index{faiss::IndexBinaryFlat{bits}})} {
  omp_set_num_threads(1);
  index_->flat.add(num_codes, codes);
}

BinaryFlat::~BinaryFlat() = default;

int64_t BinaryFlat::nearest(const uint8_t* probe) {
  int32_t distance = 0;
  int64_t label = 0;
  index_->flat.search(1, probe, 1, &distance, &label);
  return label;
}

}  // namespace hashevict::bench

#else

namespace hashevict::bench {

struct BinaryFlat::Index {};

bool BinaryFlat::available() {
  return false;
}
BinaryFlat::BinaryFlat(int32_t /*bits*/, int64_t /*num_codes*/, const uint8_t* /*codes*/) {}
BinaryFlat::~BinaryFlat() = default;
int64_t BinaryFlat::nearest(const uint8_t* /*probe*/) {
  return -1;
}

}  // namespace hashevict::bench

#endif
