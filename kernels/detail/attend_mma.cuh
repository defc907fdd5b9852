// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_split.cuh"

/// attend_split() on tensor cores, for groups of four or more queries of the keys' type. With so many queries a key,
/// arithmetic on CUDA cores would limit the kernel instead of memory.
///
/// A warp takes 16 slots at a time. Slots are the rows of the first product and dimensions those of the second, so the
/// eight columns are the queries, and no half of a tile is wasted on padding. Pieces of keys and values are fragments
/// as they come: a sum over dimensions or slots may be taken in any order, so where an instruction expects two
/// neighbours from a lane, the lane has eight and the elements are numbered accordingly. Products are exact and sums
/// fp32. Weights are split into 16-bit parts that add up to them, so narrow weights lose nothing.
namespace hashevict::kernels {

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
    const uint16_t part = simt::float_to_half(rest);  // any NaN will do
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

/// Logits of a turn: [row, row + 8] by [query(0), query(1)], in this order.
template <class Shape>
struct MmaLogits {
  float values[4];

  static HASHEVICT_DEVICE int32_t slot(const MmaLane& lane, int32_t i) { return lane.row + i / 2 * 8; }
};

/// The queries as the second operand; a lane has the query of its row number.
/// @tparam kAreKept in registers, else in shared memory
template <class Shape, bool kAreKept>
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
  static constexpr int32_t kKept = kAreKept ? Shape::kDims / kKeyDims : 0;

  HASHEVICT_DEVICE void load(int32_t chunk, uint32_t (&words)[4]) const {
    const MmaLane lane = mma_lane();
    const int32_t dim = chunk * kKeyDims + lane.pair * kPieceElements;
    float elements[kPieceElements] = {};
    if (dim < head_dim_) shared_.queries.load_many(lane.row * head_dim_ + dim, elements);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) words[i] = narrow_both(elements[2 * i], elements[2 * i + 1]);
  }
  /// Exact: the elements were widened from this type. Any NaN will do for a NaN.
  static HASHEVICT_DEVICE uint32_t narrow_both(float low, float high) {
    if constexpr (Shape::kIsBfloat) {
      return high_halves(simt::bits_of_float(low), simt::bits_of_float(high));
    } else {
      return simt::floats_to_halves(low, high);
    }
  }

  const AttendShared& shared_;
  int32_t head_dim_;
  uint32_t kept_[kKept == 0 ? 1 : kKept][4];
};

/// Pieces of keys that a lane holds at a time, for each chunk of 32 dimensions those of the rows `row` and `row + 8`.
template <class Shape>
struct MmaKeys {
  static constexpr int32_t kChunks = Shape::kDims / kKeyDims;
  static constexpr int32_t kTogether = kChunks < 4 ? kChunks : 4;  ///< chunks whose loads are in flight at a time
  Piece<Shape::kDtype> pieces[2 * kTogether];

  /// The dimension where a piece starts.
  static HASHEVICT_DEVICE int32_t dim(int32_t base, int32_t i) {
    return (base + i / 2) * kKeyDims + mma_lane().pair * kPieceElements;
  }
};

/// Adds the products of a chunk of the keys in rows `row` and `row + 8` with all queries.
template <class Shape, class Queries>
HASHEVICT_DEVICE void mma_key_chunk(const Queries& queries, int32_t chunk, const simt::Bytes16& upper,
                                    const simt::Bytes16& lower, MmaLogits<Shape>& dots) {
  uint32_t words[4];
  queries.get(chunk, words);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; i += 2) {
    simt::mma<Shape::kIsBfloat>(dots.values, {upper.words[i], lower.words[i], upper.words[i + 1], lower.words[i + 1]},
                                {words[i], words[i + 1]});
  }
}

/// Dot products of a turn's keys with all queries.
/// @param load_keys (base, keys) loads the chunks from `base` on
template <class Shape, class Queries, class LoadKeys>
HASHEVICT_DEVICE void mma_dots(const Queries& queries, const LoadKeys& load_keys, MmaLogits<Shape>& dots) {
  using Keys = MmaKeys<Shape>;
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) dots.values[i] = 0.0F;
  HASHEVICT_NO_UNROLL
  for (int32_t base = 0; base < Keys::kChunks; base += Keys::kTogether) {
    Keys keys;
    load_keys(base, keys);
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Keys::kTogether; ++c) {
      mma_key_chunk(queries, base + c, keys.pieces[2 * c].parts[0], keys.pieces[2 * c + 1].parts[0], dots);
    }
  }
}

/// Turns dots into logits; a slot that does not count gets -infinity. The logits of slot `held_out_slot` are written
/// separately.
/// @param logits takes those, by store(query, logit)
/// @param counts (slot) whether a slot counts
template <class Shape, class Logits, class Counts>
HASHEVICT_DEVICE void mma_logits(const Softmax& softmax, int32_t first_slot, int32_t held_out_slot,
                                 const Logits& logits, const Counts& counts, MmaLogits<Shape>& dots) {
  const MmaLane lane = mma_lane();
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t slot = first_slot + MmaLogits<Shape>::slot(lane, i);
    float logit = logit_of(softmax, dots.values[i]);
    if (slot == held_out_slot) {
      logits.store(lane.query(i % 2), logit);
      logit = kNegativeInfinity;
    }
    if (!counts(slot)) logit = kNegativeInfinity;
    dots.values[i] = logit;
  }
}

/// The values of a turn: a lane's eight elements of four slots, for each 64 dimensions.
template <class Shape>
struct MmaValues {
  Piece<Shape::kDtype> rows[Shape::kDims / kValueDims][4];

  static HASHEVICT_DEVICE int32_t slot(int32_t i) { return 2 * mma_lane().pair + i % 2 + i / 2 * 8; }
  /// The dimension where the pieces of a chunk start.
  static HASHEVICT_DEVICE int32_t dim(int32_t chunk) { return chunk * kValueDims + mma_lane().row * kPieceElements; }
};

/// The weights of a turn as 16-bit parts, in the order of an operand.
template <class Shape>
struct MmaWeights {
  uint32_t parts[Shape::kParts][2];
};

template <class Shape>
HASHEVICT_DEVICE void split_weights(const MmaLogits<Shape>& weights, MmaWeights<Shape>& split) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    constexpr float kScale = Shape::kIsBfloat ? 1.0F : kHalfScale;
    float first = simt::multiply(weights.values[2 * i], kScale);
    float second = simt::multiply(weights.values[2 * i + 1], kScale);
    HASHEVICT_UNROLL
    for (int32_t p = 0; p < Shape::kParts; ++p) {
      const uint32_t low = take_part<Shape::kIsBfloat>(first);
      split.parts[p][i] = simt::transpose(low_halves(low, take_part<Shape::kIsBfloat>(second)));
    }
  }
}

/// A lane's values of four slots in 64 dimensions, as the operands of four products.
struct MmaValueChunk {
  uint32_t operands[4][4];

  /// @param rows this lane's pieces of its four slots, as MmaValues::slot() numbers them
  HASHEVICT_DEVICE explicit MmaValueChunk(const simt::Bytes16 (&rows)[4]) {
    HASHEVICT_UNROLL
    for (int32_t j = 0; j < 4; ++j) {
      uint32_t words[4];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < 4; ++i) words[i] = rows[i].words[j];
      operands[j][0] = low_halves(words[0], words[1]);
      operands[j][1] = high_halves(words[0], words[1]);
      operands[j][2] = low_halves(words[2], words[3]);
      operands[j][3] = high_halves(words[2], words[3]);
    }
  }
};

/// sums += weights * values of a turn, in the 64 dimensions of chunk `c`.
template <class Shape>
HASHEVICT_DEVICE void mma_value_chunk(const MmaWeights<Shape>& weights, int32_t c, const MmaValueChunk& values,
                                      float (&sums)[Shape::kDims / 16][4]) {
  HASHEVICT_UNROLL
  for (int32_t j = 0; j < 4; ++j) {
    HASHEVICT_UNROLL
    for (int32_t p = 0; p < Shape::kParts; ++p) {
      simt::mma<Shape::kIsBfloat>(sums[4 * c + j], values.operands[j], weights.parts[p]);
    }
  }
}

/// sums += weights * values of a turn.
template <class Shape>
HASHEVICT_DEVICE void mma_values(const MmaLogits<Shape>& weights, const MmaValues<Shape>& values,
                                 float (&sums)[Shape::kDims / 16][4]) {
  MmaWeights<Shape> split;
  split_weights(weights, split);
  HASHEVICT_UNROLL
  for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
    const auto& rows = values.rows[c];
    const MmaValueChunk chunk{{rows[0].parts[0], rows[1].parts[0], rows[2].parts[0], rows[3].parts[0]}};
    mma_value_chunk(split, c, chunk, sums);
  }
}

/// Adds up the lanes' sums and stores the warp's result in shared memory. `values[4 c + j]` has dimensions 64 c + 8 row
/// + 2 j and the next one.
template <class Shape>
HASHEVICT_DEVICE void store_mma_warp(const AttendShared& shared, int32_t head_dim, const MmaState<Shape>& state) {
  const MmaLane lane = mma_lane();
  float sums[2][1] = {{state.sums[0]}, {state.sums[1]}};
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < 2; ++q) add_across<simt::kWarpSize, 4>(sums[q]);
  HASHEVICT_UNROLL
  for (int32_t q = 0; q < 2; ++q) {
    const int32_t row = simt::warp() * Shape::kTile + lane.query(q);
    if (lane.row == 0) {
      shared.maxima.store(row, state.maxima[q]);
      shared.sums.store(row, sums[q][0]);
    }
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
      const int32_t dim = c * kValueDims + lane.row * kPieceElements;
      if (dim >= head_dim) continue;
      HASHEVICT_UNROLL
      for (int32_t j = 0; j < 4; j += 2) {
        const auto& first = state.values[4 * c + j];
        const auto& second = state.values[4 * c + j + 1];
        float four[4] = {first[q], first[2 + q], second[q], second[2 + q]};
        HASHEVICT_UNROLL
        for (int32_t i = 0; i < (Shape::kIsBfloat ? 0 : 4); ++i) four[i] = simt::multiply(four[i], 1.0F / kHalfScale);
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

/// attend_split() for these shapes.
template <DType kDtype, int32_t kDims, class FindOffset>
HASHEVICT_DEVICE void attend_split(RowFifo<MmaShape<kDtype, kDims>>& fifo, const SplitInput& input,
                                   const AttendShared& shared, const HeldOut& held_out, const FindOffset& find_offset) {
  using Shape = MmaShape<kDtype, kDims>;
  using Parts = TurnParts<Shape>;
  simt::block_sync();
  const MmaQueries<Shape, true> queries{shared, input.head_dim};
  MmaState<Shape> state{{kNegativeInfinity, kNegativeInfinity}, {0.0F, 0.0F}, {}};
  MmaLogits<Shape> logits{};
  MmaWeights<Shape> weights{};
  HASHEVICT_NO_UNROLL
  for (int32_t part = 0; part < fifo.num_parts(); ++part) {
    simt::Bytes16 pieces[Parts::kPieces];
    fifo.take(input, pieces);
    const int32_t turn = part / Parts::kParts;
    const int32_t first_slot = (turn * kAttendWarps + simt::warp()) * kMmaSlots;
    // Branches instead of indices, since queries and sums are registers.
    HASHEVICT_UNROLL
    for (int32_t k = 0; k < Parts::kKeyParts; ++k) {
      if (part % Parts::kParts != k) continue;
      HASHEVICT_UNROLL
      for (int32_t i = 0; k == 0 && i < 4; ++i) logits.values[i] = 0.0F;
      mma_key_chunk(queries, 2 * k, pieces[0], pieces[1], logits);
      mma_key_chunk(queries, 2 * k + 1, pieces[2], pieces[3], logits);
      if (k + 1 < Parts::kKeyParts) continue;
      mma_logits<Shape>(
          input.softmax, first_slot, held_out.index, held_out,
          [&](int32_t slot) { return fifo.counts(turn, slot - first_slot); }, logits);
      mma_weights<Shape>(logits, state);
      split_weights(logits, weights);
    }
    if (part % Parts::kParts < Parts::kKeyParts) continue;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < 4; ++i) {
      if (first_slot + MmaValues<Shape>::slot(i) == held_out.index) pieces[i] = {};
    }
    const MmaValueChunk values{pieces};
    HASHEVICT_UNROLL
    for (int32_t c = 0; c < Parts::kKeyParts; ++c) {
      if (part % Parts::kParts == Parts::kKeyParts + c) mma_value_chunk(weights, c, values, state.values);
    }
    if (part % Parts::kParts == Parts::kParts - 1) fifo.end_turn(turn, input, find_offset);
  }
  simt::block_sync();  // all columns have been read
  store_mma_warp<Shape>(shared, input.head_dim, state);
  simt::block_sync();
}

}  // namespace hashevict::kernels
