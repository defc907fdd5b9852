// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::cpu {

/// Codes of vectors with one projection (algorithm.md, *Code*).
struct EncodeRows {
  const float* rows;  ///< [num_rows, head_dim], dense
  int64_t num_rows;
  const float* projection;  ///< [head_dim, hash_bits]: transposed, so that one vector holds neighbouring bits
  int32_t head_dim;
  int32_t hash_bits;
  uint8_t* codes;  ///< [num_rows, hash_bits / 8], written
};

/// bit_i = 1 iff the fp32 fma chain of `<r_i, row>` over increasing element index, from 0, is >= 0; NaN gives 0.
/// The chain is kept on every instruction set, so codes are the same on all of them and on the GPU.
void encode_rows(const EncodeRows& args);

/// Name of the instruction set that run-time dispatch chose, such as "AVX2".
const char* simd_target_name();

}  // namespace hashevict::cpu
