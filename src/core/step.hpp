// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.hpp"
#include "hashevict/hashevict.h"

namespace hashevict::core {

/// A checked tensor of up to three dimensions. An absent tensor has `data == nullptr`.
struct TensorView {
  unsigned char* data = nullptr;
  DType dtype = DType::float32;
  std::array<int64_t, 3> stride{};  ///< in elements

  explicit operator bool() const { return data != nullptr; }
  /// Address of element [i, j, 0], or of [i, j] if the rank is two.
  [[nodiscard]] unsigned char* at(int64_t i, int64_t j) const {
    return data + (i * stride[0] + j * stride[1]) * size_of(dtype);
  }
};

/// The operations on a batch.
enum class Operation { prefill, evict, append, attend, decode };

/// The validated arguments of hashevict_encode().
struct EncodeArguments {
  int32_t layer;
  int32_t sequence;
  bool queries;
  int64_t tokens;
  TensorView x;      ///< [tokens, heads, head_dim]
  TensorView codes;  ///< [tokens, heads, code_bytes]
};

/// The validated arguments of an operation on a batch. Shapes agree with the config, required tensors are present, and
/// tensors that the operation does not take are absent.
struct Step {
  int32_t layer = 0;
  int32_t rows = 0;
  int64_t tokens = 0;
  const int32_t* row_to_sequence = nullptr;  ///< [rows] or nullptr: row r is sequence r
  const int32_t* cu_seqlens = nullptr;       ///< [rows + 1] or nullptr: one token a row
  TensorView q, k, v, out, lse, slots, victims;
  TensorView importance, importance_slope;
  float softmax_scale = 0;
  float logit_soft_cap = 0;
  hashevict_prefill_mode prefill_mode = HASHEVICT_PREFILL_REPLAY;
  int32_t prefill_window = 0;
  hashevict_prefill_attention prefill_attention = HASHEVICT_PREFILL_STREAMED;  ///< of `out`
  hashevict_attend_queries attend_queries = HASHEVICT_QUERIES_LAST;

  // Index arrays stay where the caller has them; these three require host memory.
  [[nodiscard]] int32_t sequence(int32_t row) const { return row_to_sequence == nullptr ? row : row_to_sequence[row]; }
  [[nodiscard]] int64_t first_token(int32_t row) const { return cu_seqlens == nullptr ? row : cu_seqlens[row]; }
  [[nodiscard]] int64_t end_token(int32_t row) const { return cu_seqlens == nullptr ? row + 1 : cu_seqlens[row + 1]; }
};

}  // namespace hashevict::core
