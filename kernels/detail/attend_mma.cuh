// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_split.cuh"

/// attend_split() on tensor cores, for groups of four or more queries of the keys' type. With so many queries a key,
/// arithmetic on CUDA cores would limit the kernel instead of memory.
///
/// A warp takes 16 slots at a time. Slots are the rows of the first product and dimensions those of the second, so the
/// eight columns are the queries, and no half of a tile is wasted on padding. Rows of keys and values go from global
/// memory straight into fragments: a sum over dimensions or slots may be taken in any order, so where an instruction
/// expects two neighbours from a lane, the lane loads eight and the elements are numbered accordingly. Products are
/// exact and sums fp32. Weights are split into 16-bit parts that add up to them, so narrow weights lose nothing.
namespace hashevict::kernels {

inline constexpr int32_t kMmaSlots = 16;   ///< slots that a warp takes per turn
inline constexpr int32_t kKeyDims = 32;    ///< dimensions of a key that four lanes load at a time
inline constexpr int32_t kValueDims = 64;  ///< dimensions of a value that eight lanes load at a time
inline constexpr float kHalfScale =
    16384;  ///< scale of fp16 weights, which keeps their last parts out of the subnormal range

/// A lane's place in fragments: it holds two columns of a result, in rows `row` and `row + 8`.
struct MmaLane {
  int32_t row;   ///< 0..7
  int32_t pair;  ///< 0..3

  HASHEVICT_DEVICE int32_t query(int32_t i) const { return 2 * pair + i; }
};

HASHEVICT_DEVICE MmaLane mma_lane() {
  return {simt::lane() / 4, simt::lane() % 4};
}

/// Packs the low halves of two words, or the high ones, into one word.
HASHEVICT_DEVICE uint32_t low_halves(uint32_t a, uint32_t b) {
  return (a & 0xFFFFU) | b << 16;
}
HASHEVICT_DEVICE uint32_t high_halves(uint32_t a, uint32_t b) {
  return a >> 16 | (b & 0xFFFF0000U);
}

/// Splits a value into 16-bit parts; each part takes the remainder of the one before.
template <bool kIsBfloat>
HASHEVICT_DEVICE uint16_t take_part(float& rest) {
  if constexpr (kIsBfloat) {
    const uint32_t bits = simt::bits_of_float(rest) & 0xFFFF0000U;  // truncated: the remainder has 8 bits less
    rest = simt::subtract(rest, simt::float_from_bits(bits));
    return static_cast<uint16_t>(bits >> 16);
  } else {
    const uint16_t part = narrow_to_half(rest);
    rest = simt::subtract(rest, simt::half_to_float(part));
    return part;
  }
}

/// A lane's results for its two queries, over all its turns.
template <class Shape>
struct MmaState {
  float maxima[2];
  float sums[2];  ///< of the weights of the lane's slots
  float values[Shape::kDims / 16][4];
};

/// Loads eight elements of a row, or zeros if the slot is not to be read.
template <class Shape, bool kAligned>
HASHEVICT_DEVICE Piece<Shape::kDtype> load_mma_piece(const void* data, int64_t offset, int32_t dim, int32_t head_dim) {
  if (offset < 0 || dim >= head_dim) return {};
  return load_piece<Shape::kDtype, kAligned>(data, offset, dim);
}

/// Logits of a turn: [row, row + 8] by [query(0), query(1)], in this order.
template <class Shape>
struct MmaLogits {
  float values[4];

  static HASHEVICT_DEVICE int32_t slot(const MmaLane& lane, int32_t i) { return lane.row + i / 2 * 8; }
};

/// The queries as the second operand; a lane has the query of its row number.
template <class Shape>
class MmaQueries {
 public:
  HASHEVICT_DEVICE MmaQueries(const AttendShared& shared, int32_t head_dim) : shared_{shared}, head_dim_{head_dim} {
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < kKept; ++c) load(c, kept_[c]);
  }

  /// Two dimensions per word, 32 in all.
  HASHEVICT_DEVICE void get(int32_t chunk, uint32_t (&words)[4]) const {
    if constexpr (kKept == 0) {
      load(chunk, words);
    } else {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) words[i] = kept_[chunk][i];
    }
  }

 private:
  /// Long rows leave no registers for cached queries.
  static constexpr int32_t kKept = Shape::kDims > 128 ? 0 : Shape::kDims / kKeyDims;

  HASHEVICT_DEVICE void load(int32_t chunk, uint32_t (&words)[4]) const {
    const MmaLane lane = mma_lane();
    const int32_t dim = chunk * kKeyDims + lane.pair * kPieceElements;
    float elements[kPieceElements] = {};
    if (dim < head_dim_) shared_.queries.load_many(lane.row * head_dim_ + dim, elements);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) words[i] = low_halves(narrow(elements[2 * i]), narrow(elements[2 * i + 1]));
  }
  /// Exact: the element was widened from this type.
  static HASHEVICT_DEVICE uint32_t narrow(float element) {
    return Shape::kIsBfloat ? narrow_to_bfloat(element) : narrow_to_half(element);
  }

  const AttendShared& shared_;
  int32_t head_dim_;
  uint32_t kept_[kKept == 0 ? 1 : kKept][4];
};

/// Dot products of a turn's keys with all queries.
template <class Shape, bool kAligned>
HASHEVICT_DEVICE void mma_dots(const SplitInput& input, const AttendShared& shared, int32_t first_slot,
                               const MmaQueries<Shape>& queries, MmaLogits<Shape>& dots) {
  constexpr int32_t kChunks = Shape::kDims / kKeyDims;
  constexpr int32_t kTogether = kChunks < 4 ? kChunks : 4;  // chunks whose loads are in flight at a time
  const MmaLane lane = mma_lane();
  const int64_t offsets[2] = {shared.offsets.load(first_slot + lane.row),
                              shared.offsets.load(first_slot + lane.row + 8)};
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) dots.values[i] = 0.0F;
  HASHEVICT_NO_UNROLL
  for (int32_t base = 0; base < kChunks; base += kTogether) {
    Piece<Shape::kDtype> keys[kTogether][2];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 2 * kTogether; ++i) {
      const int32_t dim = (base + i / 2) * kKeyDims + lane.pair * kPieceElements;
      keys[i / 2][i % 2] = load_mma_piece<Shape, kAligned>(input.keys, offsets[i % 2], dim, input.head_dim);
    }
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < kTogether; ++c) {
      uint32_t words[4];
      queries.get(base + c, words);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; i += 2) {
        const uint32_t* const upper = keys[c][0].parts[0].words + i;
        const uint32_t* const lower = keys[c][1].parts[0].words + i;
        simt::mma<Shape::kIsBfloat>(dots.values, {upper[0], lower[0], upper[1], lower[1]}, {words[i], words[i + 1]});
      }
    }
  }
}

/// Turns dots into logits; a slot that does not count gets -infinity. The logits of the held-out slot are written
/// separately.
template <class Shape>
HASHEVICT_DEVICE void mma_logits(const SplitInput& input, const AttendShared& shared, int32_t first_slot,
                                 const HeldOut& held_out, MmaLogits<Shape>& dots) {
  const MmaLane lane = mma_lane();
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t slot = first_slot + MmaLogits<Shape>::slot(lane, i);
    float logit = logit_of(input.softmax, dots.values[i]);
    if (slot == held_out.index) {
      const int32_t query = lane.query(i % 2);
      if (query < held_out.num_queries) simt::store_relaxed(held_out.logits + query, logit);
      logit = kNegativeInfinity;
    }
    if (shared.offsets.load(slot) < 0) logit = kNegativeInfinity;
    dots.values[i] = logit;
  }
}

/// values += weights * values of a turn, 64 dimensions at a time.
template <class Shape, bool kAligned>
HASHEVICT_DEVICE void mma_values(const SplitInput& input, const AttendShared& shared, int32_t first_slot,
                                 int32_t held_out, const MmaLogits<Shape>& weights,
                                 float (&values)[Shape::kDims / 16][4]) {
  const MmaLane lane = mma_lane();
  uint32_t parts[Shape::kParts][2];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    constexpr float kScale = Shape::kIsBfloat ? 1.0F : kHalfScale;
    float first = simt::multiply(weights.values[2 * i], kScale);
    float second = simt::multiply(weights.values[2 * i + 1], kScale);
    HASHEVICT_UNROLL
    for (int32_t p = 0; p < Shape::kParts; ++p) {
      const uint32_t low = take_part<Shape::kIsBfloat>(first);
      parts[p][i] = simt::transpose(low_halves(low, take_part<Shape::kIsBfloat>(second)));
    }
  }
  int64_t offsets[4];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t slot = first_slot + 2 * lane.pair + i % 2 + i / 2 * 8;
    offsets[i] = slot == held_out ? int64_t{-1} : shared.offsets.load(slot);
  }
  HASHEVICT_UNROLL
  for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
    Piece<Shape::kDtype> rows[4];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      rows[i] = load_mma_piece<Shape, kAligned>(input.values, offsets[i], c * kValueDims + lane.row * kPieceElements,
                                                input.head_dim);
    }
    HASHEVICT_UNROLL
    for (int32_t j = 0; j < 4; ++j) {
      uint32_t words[4];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) words[i] = rows[i].parts[0].words[j];
      const uint32_t transposed[4] = {low_halves(words[0], words[1]), high_halves(words[0], words[1]),
                                      low_halves(words[2], words[3]), high_halves(words[2], words[3])};
      HASHEVICT_UNROLL
      for (int32_t p = 0; p < Shape::kParts; ++p) {
        simt::mma<Shape::kIsBfloat>(values[4 * c + j], transposed, parts[p]);
      }
    }
  }
}

/// Stores the warp's result in shared memory. `values[4 c + j]` has dimensions 64 c + 8 row + 2 j and the next one.
template <class Shape>
HASHEVICT_DEVICE void store_mma_warp(const AttendShared& shared, int32_t head_dim, const MmaState<Shape>& state) {
  const MmaLane lane = mma_lane();
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < 2; ++q) {
    const int32_t row = simt::warp() * Shape::kTile + lane.query(q);
    if (lane.row == 0) {
      shared.maxima.store(row, state.maxima[q]);
      shared.sums.store(row, state.sums[q]);
    }
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
      const int32_t dim = c * kValueDims + lane.row * kPieceElements;
      if (dim >= head_dim) continue;
      HASHEVICT_UNROLL
      for (int32_t j = 0; j < 4; j += 2) {
        constexpr float kScale = Shape::kIsBfloat ? 1.0F : 1.0F / kHalfScale;
        const auto& first = state.values[4 * c + j];
        const auto& second = state.values[4 * c + j + 1];
        const float four[4] = {simt::multiply(first[q], kScale), simt::multiply(first[2 + q], kScale),
                               simt::multiply(second[q], kScale), simt::multiply(second[2 + q], kScale)};
        shared.values.store_many(row * head_dim + dim + 2 * j, four);
      }
    }
  }
}

/// Turns logits into weights and rescales the results of earlier turns.
template <class Shape>
HASHEVICT_DEVICE void mma_weights(MmaLogits<Shape>& logits, MmaState<Shape>& state) {
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < 2; ++q) {
    const float before = state.maxima[q];
    const float largest = simt::maximum(logits.values[q], logits.values[2 + q]);
    state.maxima[q] = simt::maximum(before, max_across<simt::kWarpSize, 4>(largest));
    const float reference = reference_of(state.maxima[q]);
    const float rescale = weight_of(before, reference);
    state.sums[q] = simt::multiply(state.sums[q], rescale);
    HASHEVICT_UNROLL
    for (int32_t i = q; i < 4; i += 2) {
      logits.values[i] = weight_of(logits.values[i], reference);
      state.sums[q] = simt::add(state.sums[q], logits.values[i]);
    }
    HASHEVICT_UNROLL
    for (int32_t m = 0; m < Shape::kDims / 16; ++m) {
      state.values[m][q] = simt::multiply(state.values[m][q], rescale);
      state.values[m][2 + q] = simt::multiply(state.values[m][2 + q], rescale);
    }
  }
}

template <class Shape, bool kAligned>
HASHEVICT_DEVICE void attend_mma(const SplitInput& input, const AttendShared& shared, const HeldOut& held_out) {
  const MmaQueries<Shape> queries{shared, input.head_dim};
  MmaState<Shape> state{{kNegativeInfinity, kNegativeInfinity}, {0.0F, 0.0F}, {}};
  // Not unrolled: rows of several turns would not fit into registers.
  HASHEVICT_NO_UNROLL
  for (int32_t slot = simt::warp() * kMmaSlots; slot < input.num_slots; slot += kAttendWarps * kMmaSlots) {
    MmaLogits<Shape> logits;
    mma_dots<Shape, kAligned>(input, shared, slot, queries, logits);
    mma_logits<Shape>(input, shared, slot, held_out, logits);
    mma_weights<Shape>(logits, state);
    mma_values<Shape, kAligned>(input, shared, slot, held_out.index, logits, state.values);
  }
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < 2; ++q) {
    float sum[1] = {state.sums[q]};
    add_across<simt::kWarpSize, 4>(sum);
    state.sums[q] = sum[0];
  }
  store_mma_warp<Shape>(shared, input.head_dim, state);
}

/// attend_split() for these shapes.
template <DType kDtype, int32_t kDims>
HASHEVICT_DEVICE void attend_split(MmaShape<kDtype, kDims> /*shape*/, const SplitInput& input,
                                   const AttendShared& shared, const HeldOut& held_out) {
  using Shape = MmaShape<kDtype, kDims>;
  simt::block_sync();
  if (input.aligned) {
    attend_mma<Shape, true>(input, shared, held_out);
  } else {
    attend_mma<Shape, false>(input, shared, held_out);
  }
  simt::block_sync();
}

}  // namespace hashevict::kernels
