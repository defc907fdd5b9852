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

HASHEVICT_DEVICE void store_lse_of(const TileInput& in, int32_t n, const Partial& all) {
  store_lse(in.p.lse, token_of_query(in, n), head_of_query(in, n), all);
}

HASHEVICT_DEVICE float as_float(float value) {
  return value;
}
HASHEVICT_DEVICE float as_float(uint32_t bits) {
  return simt::float_from_bits(bits);
}

/// All threads write the results of the tile's queries: `stride` elements of each, from `first` on, as far as rows go.
/// @param results [kTileQueries, stride] floats, or their bits
template <class T>
HASHEVICT_DEVICE void store_rows(const TileInput& in, const simt::SharedArray<T>& results, int32_t stride,
                                 int32_t first) {
  const MutableVectors& out = in.p.out;
  const int32_t left = in.head_dim() - first;
  const int32_t units = (left < stride ? left : stride) / kPieceElements;
  HASHEVICT_NO_UNROLL
  for (int32_t i = simt::thread_index(); i < in.tile.count() * units; i += kAttendThreads) {
    const int32_t n = i / units;
    const int32_t e = i % units * kPieceElements;
    T four[2][4];
    results.load_many(n * stride + e, four[0]);
    results.load_many(n * stride + e + 4, four[1]);
    const int64_t index =
        token_of_query(in, n) * out.stride[0] + head_of_query(in, n) * out.stride[1] + (first + e) * out.stride[2];
    if (out.dtype != DType::float32 && out.stride[2] == 1 && is_aligned(out.data, out.dtype, index)) {
      simt::Bytes16 packed;
      HASHEVICT_UNROLL
      for (int32_t w = 0; w < 4; ++w) {
        const T(&two)[4] = four[w / 2];
        packed.words[w] = uint32_t{narrow(as_float(two[w % 2 * 2]), out.dtype)} |
                          uint32_t{narrow(as_float(two[w % 2 * 2 + 1]), out.dtype)} << 16;
      }
      simt::store16(static_cast<uint16_t*>(out.data) + index, packed);
      continue;
    }
    HASHEVICT_UNROLL
    for (int32_t d = 0; d < kPieceElements; ++d) {
      store_element(out.data, out.dtype, index + d * out.stride[2], as_float(four[d / 4][d % 4]));
    }
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
