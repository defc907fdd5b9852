// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_split.cuh"
#include "kernels/detail/prefill_keys.cuh"
#include "kernels/detail/prefill_queries.cuh"

/// A tile's attention in fp32 arithmetic, for caches of fp32 and for queries of another type than the cache's. TF32
/// would round more than the bound of attention allows.
///
/// Eight lanes have four queries. Each computes their dots with every eighth key, and then keeps every eighth group of
/// four dimensions of their results. Keys and values pass through shared memory in fp32, one after the other.
namespace hashevict::kernels {

template <int32_t kDimsValue>
struct TileFma {
  static constexpr int32_t kDims = kDimsValue;             ///< largest head_dim
  static constexpr int32_t kKeys = kDims > 128 ? 16 : 32;  ///< of a block
  static constexpr int32_t kBlocks = kDims > 64 ? 2 : 3;   ///< blocks per multiprocessor that it is compiled for
  // Words between rows: lanes of a quarter-warp read 16 bytes each from all banks.
  static constexpr int32_t kStride = kDims + 4;
  static constexpr int32_t kWeightStride = kTileQueries + 4;
};

/// A block's arrays in shared memory.
struct TileFmaShared {
  simt::SharedArray<float> queries;  ///< [kTileQueries, kStride]
  simt::SharedArray<float> rows;     ///< [kKeys, kStride] keys, then values
  simt::SharedArray<float> weights;  ///< [kKeys, kWeightStride]
  KeyList list;
};

template <int32_t kDims>
HASHEVICT_HOST_DEVICE constexpr int32_t tile_bytes(TileFma<kDims> /*shape*/) {
  using Shape = TileFma<kDims>;
  return simt::shared_bytes<float>(kTileQueries * Shape::kStride) +
         simt::shared_bytes<float>(Shape::kKeys * Shape::kStride) +
         simt::shared_bytes<float>(Shape::kKeys * Shape::kWeightStride) + key_list_bytes<Shape::kKeys>();
}

template <class Shape>
HASHEVICT_DEVICE TileFmaShared take_tile_fma(simt::SharedMemory& memory) {
  const auto queries = memory.take<float>(kTileQueries * Shape::kStride);
  const auto rows = memory.take<float>(Shape::kKeys * Shape::kStride);
  const auto weights = memory.take<float>(Shape::kKeys * Shape::kWeightStride);
  return {queries, rows, weights, take_key_list<Shape::kKeys>(memory)};
}

HASHEVICT_DEVICE void store_eight(const simt::SharedArray<float>& to, int32_t i, const float (&values)[8]) {
  HASHEVICT_UNROLL
  for (int32_t half = 0; half < 8; half += 4) {
    const float four[4] = {values[half], values[half + 1], values[half + 2], values[half + 3]};
    to.store_many(i + half, four);
  }
}

/// Eight elements of a key's row, rounded as the cache stores them, or zeros where there are none.
HASHEVICT_DEVICE void load_widened(const TileInput& in, const RowsOf& rows, int64_t place, int32_t birth, int32_t e,
                                   float (&values)[8]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; ++i) values[i] = 0.0F;
  if (birth == kUnborn || e >= in.head_dim()) return;
  const DType dtype = in.layer().shape.format.dtype;
  if (birth < 0) {
    const void* const row = static_cast<const unsigned char*>(rows.slots) + place;
    if (in.slots_aligned) return load_eight(row, dtype, e, values);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 8; ++i) values[i] = load_element(row, dtype, e + i);
    return;
  }
  load_eight_of(rows.tokens, place, e, values);
  if (rows.tokens.dtype == dtype) return;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 8; ++i) values[i] = round_to(dtype, values[i]);
}

/// A thread's work on the blocks of keys of a tile.
template <class Shape>
class TileFmaWork {
 public:
  HASHEVICT_DEVICE TileFmaWork(const TileInput& in, const TileFmaShared& shared) : in_{in}, shared_{shared} {
    stage_queries();
    simt::block_sync();
    has_queries_ = first_query() < in.tile.count();
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kQueries; ++i) {
      tokens_[i] = in.tile.token(first_query() + i);
      maxima_[i] = kNegativeInfinity;
    }
  }

  /// Attends to a block of `count` keys, from entry `first` of the list on.
  HASHEVICT_DEVICE void operator()(int32_t first, int32_t count, int32_t next) {
    simt::block_sync();
    float logits[kQueries][kHeld];
    multiply_keys(logits);
    make_weights(logits, make_logits(first, logits));
    simt::block_sync();
    stage(values_of(in_), first);
    simt::block_sync();
    add_values(count);
    if (next < 0) return;
    simt::block_sync();
    start(next);
  }

  HASHEVICT_DEVICE void start(int32_t first) const { stage(keys_of(in_), first); }

  /// Writes the results of all queries by way of their memory.
  HASHEVICT_DEVICE void store() {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kQueries; ++i) {
      float sum[1] = {sums_[i]};
      add_across<kLanes, 1>(sum);
      const int32_t n = first_query() + i;
      const bool tells = n < in_.tile.count() && simt::thread_index() % kLanes == 0;
      if (tells) store_lse_of(in_, n, {maxima_[i], sum[0], 0.0F});
      HASHEVICT_UNROLL
      for (int32_t m = 0; m < kGroups; ++m) {
        HASHEVICT_UNROLL
        for (int32_t d = 0; d < 4; ++d) values_[i][m][d] = result_of({maxima_[i], sum[0], values_[i][m][d]});
        shared_.queries.store_many(n * Shape::kStride + element(m), values_[i][m]);
      }
    }
    simt::block_sync();
    store_rows(in_, shared_.queries, Shape::kStride, 0);
  }

 private:
  static constexpr int32_t kLanes = kStagingLanes;         ///< lanes that share queries
  static constexpr int32_t kQueries = 4;                   ///< of a thread
  static constexpr int32_t kHeld = Shape::kKeys / kLanes;  ///< keys of a thread in a block
  static constexpr float kHidden = -0.0F;                  ///< the weight of a key that a query does not see
  static constexpr int32_t kGroups = Shape::kDims / (4 * kLanes);

  static HASHEVICT_DEVICE int32_t first_query() { return simt::thread_index() / kLanes * kQueries; }
  static HASHEVICT_DEVICE int32_t key(int32_t i) { return simt::thread_index() % kLanes + i * kLanes; }
  /// First dimension of the thread's m-th group.
  static HASHEVICT_DEVICE int32_t element(int32_t m) { return (simt::thread_index() % kLanes + m * kLanes) * 4; }

  static HASHEVICT_DEVICE bool is_hidden(float weight) { return simt::bits_of_float(weight) == 0x80000000U; }

  HASHEVICT_DEVICE void stage_queries() const {
    const Vectors& q = in_.p.evict.q;
    HASHEVICT_NO_UNROLL
    for (int32_t r = 0; r < kTileQueries / kStagedRows; ++r) {
      const int32_t n = staged_row(r);
      HASHEVICT_NO_UNROLL
      for (int32_t e = staged_element(0); e < Shape::kDims; e += kStagingLanes * kPieceElements) {
        float values[8] = {};
        if (n < in_.tile.count() && e < in_.head_dim()) load_eight_of(q, place_of_query(in_, n), e, values);
        store_eight(shared_.queries, n * Shape::kStride + e, values);
      }
    }
  }

  HASHEVICT_DEVICE void stage(const RowsOf& rows, int32_t first) const {
    const core::SlotAddress address = in_.address();
    HASHEVICT_NO_UNROLL
    for (int32_t r = 0; r < Shape::kKeys / kStagedRows; ++r) {
      const int32_t birth = shared_.list.births.load(first + staged_row(r));
      const int64_t place = place_of(in_, address, rows, birth);
      HASHEVICT_NO_UNROLL
      for (int32_t e = staged_element(0); e < Shape::kDims; e += kStagingLanes * kPieceElements) {
        float values[8];
        load_widened(in_, rows, place, birth, e, values);
        store_eight(shared_.rows, staged_row(r) * Shape::kStride + e, values);
      }
    }
  }

  HASHEVICT_DEVICE void multiply_keys(float (&dots)[kQueries][kHeld]) const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kQueries * kHeld; ++i) dots[i / kHeld][i % kHeld] = 0.0F;
    if (!has_queries_) return;
    HASHEVICT_NO_UNROLL
    for (int32_t e = 0; e < in_.head_dim(); e += 4) {
      float keys[kHeld][4];
      HASHEVICT_UNROLL
      for (int32_t j = 0; j < kHeld; ++j) shared_.rows.load_many(key(j) * Shape::kStride + e, keys[j]);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kQueries; ++i) {
        float query[4];
        shared_.queries.load_many((first_query() + i) * Shape::kStride + e, query);
        HASHEVICT_UNROLL
        for (int32_t j = 0; j < 4 * kHeld; ++j) {
          dots[i][j / 4] = simt::fma(query[j % 4], keys[j / 4][j % 4], dots[i][j / 4]);
        }
      }
    }
  }

  /// Turns dots into logits; a key that a query does not see gets -infinity.
  /// @return bit kHeld i + j: the i-th query does not see the j-th key
  HASHEVICT_DEVICE uint32_t make_logits(int32_t first, float (&dots)[kQueries][kHeld]) const {
    uint32_t hidden = 0;
    HASHEVICT_UNROLL
    for (int32_t j = 0; j < kHeld; ++j) {
      const int32_t birth = shared_.list.births.load(first + key(j));
      const int32_t death = shared_.list.deaths.load(first + key(j));
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kQueries; ++i) {
        const bool seen = birth <= tokens_[i] && tokens_[i] < death;
        dots[i][j] = seen ? logit_of(in_.p.softmax, dots[i][j]) : kNegativeInfinity;
        if (!seen) hidden |= 1U << (kHeld * i + j);
      }
    }
    return hidden;
  }

  /// Turns logits into weights, hands them out and rescales the results of earlier blocks.
  HASHEVICT_DEVICE void make_weights(float (&logits)[kQueries][kHeld], uint32_t hidden) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kQueries; ++i) {
      const float before = maxima_[i];
      float largest = before;
      HASHEVICT_UNROLL
      for (int32_t j = 0; j < kHeld; ++j) largest = simt::maximum(largest, logits[i][j]);
      maxima_[i] = max_across<kLanes, 1>(largest);
      const float reference = reference_of(maxima_[i]);
      const float rescale = weight_of(before, reference);
      sums_[i] = simt::multiply(sums_[i], rescale);
      HASHEVICT_UNROLL
      for (int32_t j = 0; j < kHeld; ++j) {
        logits[i][j] = weight_of(logits[i][j], reference);
        sums_[i] = simt::add(sums_[i], logits[i][j]);
        if ((hidden >> (kHeld * i + j) & 1U) != 0) logits[i][j] = kHidden;
      }
      HASHEVICT_UNROLL
      for (int32_t m = 0; m < 4 * kGroups; ++m) {
        values_[i][m / 4][m % 4] = simt::multiply(values_[i][m / 4][m % 4], rescale);
      }
    }
    HASHEVICT_UNROLL
    for (int32_t j = 0; j < kHeld; ++j) {
      const float four[4] = {logits[0][j], logits[1][j], logits[2][j], logits[3][j]};
      shared_.weights.store_many(key(j) * Shape::kWeightStride + first_query(), four);
    }
  }

  /// values += weights * values of the block. What a query does not see is left out, since it may not be finite.
  HASHEVICT_DEVICE void add_values(int32_t count) {
    if (!has_queries_) return;
    HASHEVICT_NO_UNROLL
    for (int32_t k = 0; k < count; ++k) {
      float weights[kQueries];
      shared_.weights.load_many(k * Shape::kWeightStride + first_query(), weights);
      HASHEVICT_UNROLL
      for (int32_t m = 0; m < kGroups; ++m) {
        if (element(m) >= in_.head_dim()) continue;
        float value[4];
        shared_.rows.load_many(k * Shape::kStride + element(m), value);
        HASHEVICT_UNROLL
        for (int32_t i = 0; i < 4 * kQueries; ++i) {
          float& sum = values_[i / 4][m][i % 4];
          if (!is_hidden(weights[i / 4])) sum = simt::fma(weights[i / 4], value[i % 4], sum);
        }
      }
    }
  }

  const TileInput& in_;
  const TileFmaShared& shared_;
  bool has_queries_;
  int32_t tokens_[kQueries];
  float maxima_[kQueries];
  float sums_[kQueries] = {};  ///< of the weights of the thread's keys
  float values_[kQueries][kGroups][4] = {};
};

}  // namespace hashevict::kernels
