// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::cpu {

/// Arguments of encode_rows(): vectors that share one projection (algorithm.md, *Code*).
struct EncodeRows {
  const float* rows;  ///< [num_rows, head_dim], dense
  int64_t num_rows;
  const float* projection;  ///< [head_dim, hash_bits]: transposed, so that one vector holds neighbouring bits
  int32_t head_dim;
  int32_t hash_bits;
  uint8_t* codes;  ///< [num_rows, hash_bits / 8], written
};

/// Encodes rows: bit_i = 1 iff the fp32 fma chain of `<r_i, row>` over increasing element index, from 0, is >= 0; NaN
/// gives 0. Every instruction set computes the same chain, so codes are the same on all of them and on the GPU.
void encode_rows(const EncodeRows& args);

/// The importance of a key by weights: one fma per element in increasing index, from 0, then the bias is added.
/// @param weights [head_dim + 1], the bias last
float weigh_key(const float* weights, const float* key, int32_t head_dim);

/// Returns the name of the instruction set that run-time dispatch chose, such as "AVX2".
const char* simd_target_name();

}  // namespace hashevict::cpu
