// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_state.cuh"
#include "kernels/detail/prefill_keys.cuh"

/// Where the queries of a tile and their results lie.
namespace hashevict::kernels {

HASHEVICT_DEVICE int64_t token_of_query(const TileInput& in, int32_t n) {
  return int64_t{in.row.first_token} + in.tile.token(n);
}

HASHEVICT_DEVICE int32_t head_of_query(const TileInput& in, int32_t n) {
  return in.tile.kv_head * in.layer().shape.group_size + in.tile.first_query + n % in.tile.queries;
}

/// Elements before query number n of the tile.
HASHEVICT_DEVICE int64_t place_of_query(const TileInput& in, int32_t n) {
  const Vectors& q = in.p.evict.q;
  return token_of_query(in, n) * q.stride[0] + head_of_query(in, n) * q.stride[1];
}

/// Writes kCount elements of the result of query number n, from element `e` on.
/// @param all whatever element it is of
template <int32_t kCount>
HASHEVICT_DEVICE void store_elements(const TileInput& in, int32_t n, int32_t e, const Partial& all,
                                     const float (&values)[kCount]) {
  const int64_t token = token_of_query(in, n);
  const int32_t query_head = head_of_query(in, n);
  const MutableVectors& out = in.p.out;
  const int64_t index = token * out.stride[0] + query_head * out.stride[1] + e * out.stride[2];
  if constexpr (kCount == kPieceElements) {
    if (out.dtype != DType::float32 && out.stride[2] == 1 && is_aligned(out.data, out.dtype, index)) {
      simt::Bytes16 packed;
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) {
        const uint32_t low = narrow(result_of({all.maximum, all.sum, values[2 * i]}), out.dtype);
        const uint32_t high = narrow(result_of({all.maximum, all.sum, values[2 * i + 1]}), out.dtype);
        packed.words[i] = low | high << 16;
      }
      simt::store16(static_cast<uint16_t*>(out.data) + index, packed);
      if (e == 0) store_lse(in.p.lse, token, query_head, all);
      return;
    }
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kCount; ++i) {
    store_result({out, in.p.lse}, token, query_head, e + i, {all.maximum, all.sum, values[i]});
  }
}

/// The tokens of a row that is refused have no result: their output becomes NaN, so that nobody takes it for one.
HASHEVICT_DEVICE void refuse_tile(const TileInput& in) {
  const int32_t head_dim = in.head_dim();
  for (int32_t i = simt::thread_index(); i < in.tile.count() * head_dim; i += kAttendThreads) {
    const int32_t n = i / head_dim;
    store_result({in.p.out, in.p.lse}, token_of_query(in, n), head_of_query(in, n), i % head_dim,
                 {kNotANumber, kNotANumber, kNotANumber});
  }
}

}  // namespace hashevict::kernels
