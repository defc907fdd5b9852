// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_mma.cuh"
#include "kernels/detail/prefill_keys.cuh"
#include "kernels/detail/prefill_queries.cuh"

/// A tile's attention on tensor cores, for queries of the cache's type, fp16 or bf16.
///
/// A warp has 16 queries, the rows of both products, and takes all keys of a block. Keys are the columns of the first
/// product; where an instruction expects two neighbouring dimensions, a lane has eight in both operands, so that one
/// load of 16 bytes serves two instructions. The weights of the first product are the left operand of the second as
/// they lie in registers. A lane pairs the values of neighbouring keys by `prmt`, eight dimensions at a time.
namespace hashevict::kernels {

/// Below this many keys the last digits of a weight count: the bound of attention grows by 20 units of 2^-24 with every
/// key, and two parts of bf16 are exact to 256 units.
inline constexpr int32_t kFewKeys = 16;

template <DType kDtypeValue, int32_t kDimsValue>
struct TileMma {
  static constexpr DType kDtype = kDtypeValue;
  static constexpr int32_t kDims = kDimsValue;  ///< largest head_dim
  static constexpr bool kIsBfloat = kDtype == DType::bfloat16;
  static constexpr int32_t kKeys = kDims > 128 ? 32 : 64;  ///< of a block
  static constexpr int32_t kBlocks = 2;  ///< blocks per multiprocessor that it is compiled for; a third would spill
  static constexpr bool kKeepsQueries = kDims <= 128;   ///< in registers; else in shared memory
  static constexpr int32_t kParts = kIsBfloat ? 3 : 2;  ///< of a weight, at most
  // Words between rows: lanes of a quarter-warp read 16 bytes each from all banks.
  static constexpr int32_t kKeyStride = kDims / 2 + 16;
  static constexpr int32_t kValueStride = kDims / 2 + 4;
  static constexpr int32_t kQueryRows = kKeepsQueries ? 0 : kTileQueries;
  static constexpr int32_t kKeyWords =
      kKeys * kKeyStride > kTileQueries* kValueDims ? kKeys* kKeyStride : kTileQueries* kValueDims;
  static_assert(kKeys == kTileQueries || !kKeepsQueries, "the queries pass through the memory of the keys");
};

/// A block's arrays in shared memory. Words have two elements of the cache's type.
struct TileMmaShared {
  simt::SharedArray<uint32_t> keys;     ///< [kKeys, kKeyStride]; in the end [kTileQueries, kValueDims] of the results
  simt::SharedArray<uint32_t> values;   ///< [kKeys, kValueStride]
  simt::SharedArray<uint32_t> queries;  ///< [kQueryRows, kKeyStride]
  KeyList list;
};

template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t tile_bytes(Shape /*shape*/) {
  return simt::shared_bytes<uint32_t>(Shape::kKeyWords) +
         simt::shared_bytes<uint32_t>(Shape::kKeys * Shape::kValueStride) +
         simt::shared_bytes<uint32_t>(Shape::kQueryRows * Shape::kKeyStride) + key_list_bytes<Shape::kKeys>();
}

template <class Shape>
HASHEVICT_DEVICE TileMmaShared take_tile_mma(simt::SharedMemory& memory) {
  const auto keys = memory.take<uint32_t>(Shape::kKeyWords);
  const auto values = memory.take<uint32_t>(Shape::kKeys * Shape::kValueStride);
  const auto queries = memory.take<uint32_t>(Shape::kQueryRows * Shape::kKeyStride);
  return {keys, values, queries, take_key_list<Shape::kKeys>(memory)};
}

template <DType kDtype>
HASHEVICT_DEVICE simt::Bytes16 pack_eight(const float (&values)[8]) {
  simt::Bytes16 packed;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    packed.words[i] = low_halves(narrow(values[2 * i], kDtype), narrow(values[2 * i + 1], kDtype));
  }
  return packed;
}

/// Eight elements of a vector of the call, rounded to the cache's type.
template <DType kDtype>
HASHEVICT_DEVICE simt::Bytes16 load_packed_token(const Vectors& x, bool alike, int64_t place, int32_t e) {
  if (alike) return simt::load16(static_cast<const uint16_t*>(x.data) + place + e);
  float values[kPieceElements];
  load_eight_of(x, place, e, values);
  return pack_eight<kDtype>(values);
}

/// Eight elements of a key's row as they are stored, or zeros where there are none.
template <DType kDtype>
HASHEVICT_DEVICE simt::Bytes16 load_packed(const TileInput& in, const RowsOf& rows, int64_t place, int32_t birth,
                                           int32_t e) {
  if (birth == kUnborn || e >= in.head_dim()) return {};
  if (birth < 0) {
    return in.slots_aligned ? load_piece<kDtype, true>(rows.slots, place, e).parts[0]
                            : load_piece<kDtype, false>(rows.slots, place, e).parts[0];
  }
  return load_packed_token<kDtype>(rows.tokens, rows.alike, place, e);
}

/// All threads start to load the rows of a block of keys, from entry `first` of the list on. Before they are used, each
/// thread waits for its copies and the block meets.
template <class Shape>
HASHEVICT_DEVICE void stage_packed(const TileInput& in, const KeyList& list, const RowsOf& rows, int32_t first,
                                   const simt::SharedArray<uint32_t>& to, int32_t stride) {
  const core::SlotAddress address = in.address();
  const bool copies = in.slots_aligned && rows.alike;
  HASHEVICT_NO_UNROLL
  for (int32_t r = 0; r < Shape::kKeys / kStagedRows; ++r) {
    const int32_t birth = list.births.load(first + staged_row(r));
    const int64_t place = place_of(in, address, rows, birth);
    const auto* const row = birth < 0 ? static_cast<const unsigned char*>(rows.slots) + place
                                      : static_cast<const unsigned char*>(rows.tokens.data) + place * 2;
    HASHEVICT_NO_UNROLL
    for (int32_t e = staged_element(0); e < Shape::kDims; e += kStagingLanes * kPieceElements) {
      const int32_t i = staged_row(r) * stride + e / 2;
      if (copies && birth != kUnborn && e < in.head_dim()) {
        to.start_copy(i, row + e * 2);
      } else {
        to.store_many(i, load_packed<Shape::kDtype>(in, rows, place, birth, e).words);
      }
    }
  }
}

/// All threads load the tile's queries; those that do not exist are zero.
template <class Shape>
HASHEVICT_DEVICE void stage_packed_queries(const TileInput& in, const simt::SharedArray<uint32_t>& to) {
  const Vectors& q = in.p.evict.q;
  const bool alike = can_copy(q, Shape::kDtype);
  HASHEVICT_NO_UNROLL
  for (int32_t r = 0; r < kTileQueries / kStagedRows; ++r) {
    const int32_t n = staged_row(r);
    const int64_t place = place_of_query(in, n);
    HASHEVICT_NO_UNROLL
    for (int32_t e = staged_element(0); e < Shape::kDims; e += kStagingLanes * kPieceElements) {
      simt::Bytes16 unit{};
      if (n < in.tile.count() && e < in.head_dim()) unit = load_packed_token<Shape::kDtype>(q, alike, place, e);
      to.store_many(n * Shape::kKeyStride + e / 2, unit.words);
    }
  }
}

/// Takes the next part of a weight, rounded; the rest is left.
template <bool kIsBfloat>
HASHEVICT_DEVICE uint16_t round_part(float& rest) {
  if constexpr (kIsBfloat) {  // of NaN nothing may be left: the sum of the weights is NaN, too
    const uint32_t bits = (simt::bits_of_float(rest) + 0x8000U) & 0xFFFF0000U;
    rest = simt::subtract(rest, simt::float_from_bits(bits));
    return static_cast<uint16_t>(bits >> 16);
  } else {
    return take_part<false>(rest);
  }
}

/// A warp's work on the blocks of keys of a tile.
template <class Shape>
class TileMmaWork {
 public:
  HASHEVICT_DEVICE TileMmaWork(const TileInput& in, const TileMmaShared& shared) : in_{in}, shared_{shared} {
    const simt::SharedArray<uint32_t>& staged = Shape::kKeepsQueries ? shared.keys : shared.queries;
    stage_packed_queries<Shape>(in, staged);
    simt::block_sync();
    if constexpr (Shape::kKeepsQueries) {
      HASHEVICT_UNROLL
      for (int32_t c = 0; c < kKeptChunks; ++c) load_queries(staged, c, queries_[c]);
      simt::block_sync();
    }
    parts_ = Shape::kIsBfloat && fewest_keys(in) < kFewKeys ? 3 : 2;
  }

  /// Attends to a block of `count` keys, from entry `first` of the list on. Its keys are on their way; those of the
  /// block at `next`, if it is not negative, start as soon as there is room for them. Values fly during the first
  /// product, keys during the second.
  HASHEVICT_DEVICE void operator()(int32_t first, int32_t count, int32_t next) {
    simt::wait_for_copies();
    simt::block_sync();
    stage_packed<Shape>(in_, shared_.list, values_of(in_), first, shared_.values, Shape::kValueStride);
    float logits[kColumns][4];
    if (has_queries()) multiply_keys(count, logits);
    simt::wait_for_copies();
    simt::block_sync();
    if (next >= 0) start(next);
    if (!has_queries()) return;
    make_logits(first, logits);
    make_weights(logits);
    add_values(count, logits);
  }

  /// Starts to load the keys of a block.
  HASHEVICT_DEVICE void start(int32_t first) const {
    stage_packed<Shape>(in_, shared_.list, keys_of(in_), first, shared_.keys, Shape::kKeyStride);
  }

  /// Writes the results of all queries, 64 dimensions at a time, by way of the memory of the keys.
  HASHEVICT_DEVICE void store() {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 2; ++i) {
      float sum[1] = {sums_[i]};
      add_across<4, 1>(sum);
      sums_[i] = sum[0];
      if (query(i) < in_.tile.count() && mma_lane().pair == 0)
        store_lse_of(in_, query(i), {maxima_[i], sums_[i], 0.0F});
    }
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
      if (c * kValueDims >= in_.head_dim()) break;
      simt::block_sync();
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < 16; ++n) {  // query n / 8, column n / 4 % 2, dimensions 2 (n % 4) and the next
        const int32_t i = n / 8;
        const int32_t j = n / 4 % 2;
        const int32_t d = c * kPieceElements + n % 4 * 2;
        const uint32_t two[2] = {result(values_[d][2 * i + j], i), result(values_[d + 1][2 * i + j], i)};
        shared_.keys.store_many(query(i) * kValueDims + (2 * mma_lane().pair + j) * kPieceElements + n % 4 * 2, two);
      }
      simt::block_sync();
      store_rows(in_, shared_.keys, kValueDims, c * kValueDims);
    }
  }

 private:
  static constexpr int32_t kWarpQueries = 16;
  static constexpr int32_t kColumns = Shape::kKeys / 8;  ///< columns of eight keys
  static constexpr int32_t kChunks = Shape::kDims / kKeyDims;
  static constexpr int32_t kKeptChunks = Shape::kKeepsQueries ? kChunks : 1;

  /// Number in the tile of the lane's i-th query.
  static HASHEVICT_DEVICE int32_t query(int32_t i) { return simt::warp() * kWarpQueries + mma_lane().row + 8 * i; }

  [[nodiscard]] HASHEVICT_DEVICE bool has_queries() const { return simt::warp() * kWarpQueries < in_.tile.count(); }

  /// 32 dimensions of the warp's queries, the left operands of two products.
  static HASHEVICT_DEVICE void load_queries(const simt::SharedArray<uint32_t>& from, int32_t chunk,
                                            uint32_t (&words)[2][4]) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 2; ++i) {
      uint32_t four[4];
      from.load_many(query(i) * Shape::kKeyStride + chunk * kKeyDims / 2 + mma_lane().pair * 4, four);
      HASHEVICT_UNROLL
      for (int32_t w = 0; w < 4; ++w) words[w / 2][i + w % 2 * 2] = four[w];
    }
  }

  /// The bits of an element of the i-th query's result.
  HASHEVICT_DEVICE uint32_t result(float value, int32_t i) const {
    const float scaled = simt::multiply(value, Shape::kIsBfloat ? 1.0F : 1.0F / kHalfScale);
    return simt::bits_of_float(result_of({maxima_[i], sums_[i], scaled}));
  }

  HASHEVICT_DEVICE void get_queries(int32_t chunk, uint32_t (&words)[2][4]) const {
    if constexpr (Shape::kKeepsQueries) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 8; ++i) words[i / 4][i % 4] = queries_[chunk][i / 4][i % 4];
    } else {
      load_queries(shared_.queries, chunk, words);
    }
  }

  HASHEVICT_DEVICE void multiply_keys(int32_t count, float (&dots)[kColumns][4]) const {
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kColumns; ++n) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) dots[n][i] = 0.0F;
    }
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < kChunks; ++c) {
      if (c * kKeyDims >= in_.head_dim()) break;
      uint32_t queries[2][4];
      get_queries(c, queries);
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < kColumns; ++n) {
        if (8 * n >= count) break;
        uint32_t words[4];
        shared_.keys.load_many((8 * n + mma_lane().row) * Shape::kKeyStride + c * kKeyDims / 2 + mma_lane().pair * 4,
                               words);
        HASHEVICT_UNROLL
        for (int32_t s = 0; s < 2; ++s) {
          simt::mma<Shape::kIsBfloat>(dots[n], queries[s], {words[2 * s], words[2 * s + 1]});
        }
      }
    }
  }

  /// Whether some query of the tile does not see some key of a block.
  HASHEVICT_DEVICE bool some_are_hidden(int32_t first) const {
    bool hidden = false;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Shape::kKeys; i += simt::kWarpSize) {
      const int32_t entry = first + i + simt::lane();
      hidden =
          hidden || shared_.list.births.load(entry) > in_.tile.first || shared_.list.deaths.load(entry) < in_.tile.end;
    }
    return simt::any(simt::kFullMask, hidden);
  }

  /// Turns dots into logits; a key that a query does not see gets -infinity.
  HASHEVICT_DEVICE void make_logits(int32_t first, float (&dots)[kColumns][4]) const {
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kColumns; ++n) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) dots[n][i] = logit_of(in_.p.softmax, dots[n][i]);
    }
    if (!some_are_hidden(first)) return;
    const int32_t tokens[2] = {in_.tile.token(query(0)), in_.tile.token(query(1))};
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kColumns; ++n) {
      int32_t births[2], deaths[2];
      shared_.list.births.load_many(first + 8 * n + 2 * mma_lane().pair, births);
      shared_.list.deaths.load_many(first + 8 * n + 2 * mma_lane().pair, deaths);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) {
        const int32_t token = tokens[i / 2];
        if (births[i % 2] > token || token >= deaths[i % 2]) dots[n][i] = kNegativeInfinity;
      }
    }
  }

  /// Turns logits into weights and rescales the results of earlier blocks.
  HASHEVICT_DEVICE void make_weights(float (&logits)[kColumns][4]) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 2; ++i) {
      const float before = maxima_[i];
      float largest = before;
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < kColumns; ++n) {
        largest = simt::maximum(largest, simt::maximum(logits[n][2 * i], logits[n][2 * i + 1]));
      }
      maxima_[i] = max_across<4, 1>(largest);
      const float reference = reference_of(maxima_[i]);
      const float rescale = weight_of(before, reference);
      sums_[i] = simt::multiply(sums_[i], rescale);
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < 2 * kColumns; ++n) {
        float& logit = logits[n / 2][2 * i + n % 2];
        logit = weight_of(logit, reference);
        sums_[i] = simt::add(sums_[i], logit);
      }
      HASHEVICT_UNROLL
      for (int32_t m = 0; m < Shape::kDims / 8; ++m) {
        values_[m][2 * i] = simt::multiply(values_[m][2 * i], rescale);
        values_[m][2 * i + 1] = simt::multiply(values_[m][2 * i + 1], rescale);
      }
    }
  }

  /// values += weights * values of the block.
  HASHEVICT_DEVICE void add_values(int32_t count, float (&weights)[kColumns][4]) {
    HASHEVICT_UNROLL
    for (int32_t s = 0; s < kColumns / 2; ++s) {  // 16 keys
      if (16 * s >= count) break;
      uint32_t parts[Shape::kParts][4];
      HASHEVICT_UNROLL
      for (int32_t w = 0; w < 4; ++w) {
        constexpr float kScale = Shape::kIsBfloat ? 1.0F : kHalfScale;
        const float(&two)[4] = weights[2 * s + w / 2];
        float low = simt::multiply(two[w % 2 * 2], kScale);
        float high = simt::multiply(two[w % 2 * 2 + 1], kScale);
        HASHEVICT_UNROLL
        for (int32_t p = 0; p < Shape::kParts; ++p) {
          const uint32_t part = round_part<Shape::kIsBfloat>(low);
          parts[p][w] = low_halves(part, round_part<Shape::kIsBfloat>(high));
        }
      }
      HASHEVICT_UNROLL
      for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
        if (c * kValueDims >= in_.head_dim()) break;
        add_chunk(s, c, parts);
      }
    }
  }

  /// The same for 16 keys and 64 dimensions. `values_[8 c + d]` has dimensions 64 c + 8 n + d in column n.
  HASHEVICT_DEVICE void add_chunk(int32_t s, int32_t c, const uint32_t (&parts)[Shape::kParts][4]) {
    uint32_t rows[4][4];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      const int32_t key = 16 * s + 2 * mma_lane().pair + i % 2 + i / 2 * 8;
      shared_.values.load_many(key * Shape::kValueStride + c * kValueDims / 2 + mma_lane().row * 4, rows[i]);
    }
    HASHEVICT_UNROLL
    for (int32_t w = 0; w < 4; ++w) {
      const uint32_t even[2] = {low_halves(rows[0][w], rows[1][w]), low_halves(rows[2][w], rows[3][w])};
      const uint32_t odd[2] = {high_halves(rows[0][w], rows[1][w]), high_halves(rows[2][w], rows[3][w])};
      HASHEVICT_UNROLL
      for (int32_t p = 0; p < Shape::kParts; ++p) {
        if (p == 2 && parts_ == 2) break;
        simt::mma<Shape::kIsBfloat>(values_[8 * c + 2 * w], parts[p], even);
        simt::mma<Shape::kIsBfloat>(values_[8 * c + 2 * w + 1], parts[p], odd);
      }
    }
  }

  const TileInput& in_;
  const TileMmaShared& shared_;
  int32_t parts_;  ///< of each weight
  uint32_t queries_[kKeptChunks][2][4];
  float maxima_[2] = {kNegativeInfinity, kNegativeInfinity};
  float sums_[2] = {};  ///< of the weights of the lane's keys
  float values_[Shape::kDims / 8][4] = {};
};

}  // namespace hashevict::kernels
