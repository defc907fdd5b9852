// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/prefill_chunk.cuh"

/// The best victims of 32 steps at once. The slots of a head are divided into buckets. For each step of a wide chunk
/// and each bucket, a scan finds the two stale slots with the largest eviction keys, as if no step had replaced any.
/// Distances come from tensor cores: the distances of a slot to all probes of a step add up to
/// sum over bits b of (c_b ? P - n_b : n_b), where n_b of the P probes have bit b set. That is a product of the slot's
/// bits with P - 2 n_b, plus the sum of n_b, all small integers, so it is exact.
namespace hashevict::kernels {

/// Scores come from tensor cores in units of kUnit, on top of kUnit * 2^23, so that they stand in the lowest bits of
/// a float.
inline constexpr float kUnit = 1.0F / 16384;
inline constexpr float kScoreOffset = 512.0F;              // kUnit * 2^23
inline constexpr uint32_t kScoreOffsetBits = 0x44000000U;  // of this float

/// Bit 16 + b of the result is bit b of the upper half of a code's word.
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t spread(uint32_t word) {
  return kBits <= 16 ? (word & 0xFFU) | (word & 0xFF00U) << 8 : word;
}

/// Factors of the bits `kBit` and `kBit` + 16 of a spread word that was shifted down by the lane's number in its quad:
/// the bits where they are, as fp16 numbers. Bits 0, 4 and 8 are subnormal, bit 12 belongs to the exponent.
template <int32_t kBit>
HASHEVICT_DEVICE uint32_t factors(uint32_t word) {
  return word & 0x00010001U << kBit;
}

/// What a weight is multiplied by, so that its product with such a factor is in units of kUnit: a factor of bit 0, 4 or
/// 8 is 2^(bit - 24), one of bit 12 is 2^-11.
HASHEVICT_DEVICE float weight_unit(int32_t bit) {
  return bit == 0 ? 1024.0F : (bit == 4 ? 64.0F : (bit == 8 ? 4.0F : 0.125F));
}

/// The step of column `column` of tile `tile`. A lane has columns 2 q and 2 q + 1 of each tile, q its number in its
/// quad; they are neighbouring steps.
HASHEVICT_DEVICE int32_t step_of_column(int32_t tile, int32_t column) {
  return column / 2 * kLaneSteps + 2 * tile + column % 2;
}

/// All threads turn the probes of the chunk's steps into weights. Ends with a barrier.
template <int32_t kBits>
HASHEVICT_DEVICE void weigh_probes(const Prompt& prompt, const Chunk& chunk, const WideChunk& wide,
                                   const Bests& bests) {
  const int32_t probes = wide.end_probe - wide.first_probe;
  const bool equal = prompt.rule().scored == core::Scored::equal_bits;
  const int32_t sign = equal ? -1 : 1;
  for (int32_t i = simt::thread_index(); i < kWeights<kBits>; i += kChooseThreads) {
    const int32_t half = i % 2;  // of the lane's operand
    const int32_t lane = i / 2 % simt::kWarpSize;
    const int32_t tile = i / (2 * simt::kWarpSize) % kStepTiles;
    const int32_t product = i / (2 * simt::kWarpSize * kStepTiles);
    const int32_t step = step_of_column(tile, lane / 4);
    const int32_t factor = 4 * half + 8 * (product % 2);
    const int32_t bit = lane % 4 + factor;
    uint32_t low = 0;  // probes with the bit set
    uint32_t high = 0;
    const bool measures = wide.measures(prompt, step);
    for (int32_t n = wide.first_probe; measures && n < wide.end_probe; ++n) {
      const int32_t code = (chunk.begin + step) * chunk.codes_of_token + n;
      const uint32_t word = spread<kBits>(chunk.codes.load(code * kCodeWords<kBits> + product / 2));
      low += word >> bit & 1U;
      high += word >> (bit + 16) & 1U;
    }
    const auto weight = [&](uint32_t set) {
      const auto number = static_cast<float>(sign * (probes - 2 * static_cast<int32_t>(set)));
      return uint32_t{simt::float_to_half(number * weight_unit(factor))};
    };
    bests.weights.store(i, measures ? weight(low) | weight(high) << 16 : 0U);
  }
  if (const int32_t step = simt::thread_index(); step < kWideTokens) {
    int32_t set = 0;
    for (int32_t n = wide.first_probe; wide.measures(prompt, step) && n < wide.end_probe; ++n) {
      set += static_cast<int32_t>(hamming_distance(staged_code<kBits>(chunk, step, n), Code<kBits>{}));
    }
    const int32_t measured = equal ? prompt.layer().rule.hash_bits - set : set;
    const int32_t base = wide.measures(prompt, step) ? measured : 255;  // no distance is smaller
    const float offset = simt::fma(static_cast<float>(base), kUnit, kScoreOffset);
    for (int32_t h = 0; h < 2; ++h) bests.bases.store(step / 2 * 4 + step % 2 + 2 * h, offset);
  }
  simt::block_sync();
}

/// What the minimum of a row of a tile, which is a slot or a token, takes. Scores come as the bits of floats:
/// kScoreOffsetBits more than the distance, the equal bits or the smallest distance.
struct ScannedRow {
  int32_t born;       ///< first step whose key a token's minimum takes into account
  uint32_t smallest;  ///< its accumulator, as such bits
  int32_t place;      ///< in Bests::smallest; -1: none
};

/// The bits of score 0.
template <bool kMinima>
inline constexpr uint32_t kZero = kMinima ? kScoreOffsetBits + 255U : kScoreOffsetBits;

/// A warp's scan for a chunk. It keeps the bests of its buckets in registers until the steps before have used those in
/// shared memory.
template <int32_t kBits, class AllSlots>
class TileScan {
 public:
  HASHEVICT_DEVICE TileScan(const Prompt& prompt, const AllSlots& all, const Bests& bests, int32_t first)
      : prompt_{prompt}, all_{all}, bests_{bests}, wide_{wide_chunk(prompt, first)} {}

  /// Scans the warp's tiles of slots and of tokens.
  HASHEVICT_DEVICE void scan(const Chunk& chunk) {
    if (keeps_minima(prompt_.layer())) {
      scan_tiles<true>(chunk);
    } else {
      scan_tiles<false>(chunk);
    }
  }

  /// Stores the bests of the warp's buckets.
  HASHEVICT_DEVICE void store() const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneSteps; ++i) {
      const uint32_t pair[2] = {firsts_[i], seconds_[i]};
      bests_.lists.store_many(own_step(i) * kListWords + 2 * ((simt::warp() - 1) * 8 + group_), pair);
    }
  }

 private:
  /// Operands of mma() that stay in registers from tile to tile: as many as fit. Loads by all warps would take longer
  /// than arithmetic.
  static constexpr int32_t kHeldWeights = kStepTiles * (kProducts<kBits> <= 4 ? kProducts<kBits> : 3);

  HASHEVICT_DEVICE void load_weights(int32_t i, uint32_t (&weights)[2]) const {
    bests_.weights.load_many((i * simt::kWarpSize + simt::lane()) * 2, weights);
  }
  /// The i-th of the lane's steps.
  [[nodiscard]] HASHEVICT_DEVICE int32_t own_step(int32_t i) const { return quad_ * kLaneSteps + i; }
  /// Where the minima of a parity start.
  [[nodiscard]] HASHEVICT_DEVICE int32_t minima(int32_t parity) const {
    return parity * minima_of(prompt_.head.capacity);
  }
  [[nodiscard]] HASHEVICT_DEVICE uint32_t minimum(int32_t i) const {
    return kScoreOffsetBits + bests_.smallest.load(minima(1 - wide_.parity) + i);
  }

  /// The warps that share a scheduler with the steps take the tokens.
  /// @tparam kMinima whether scores are those of smallest distances
  template <bool kMinima>
  HASHEVICT_DEVICE void scan_tiles(const Chunk& chunk) {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kHeldWeights; ++i) load_weights(i, weights_[i]);
    HASHEVICT_NO_UNROLL
    for (int32_t tile = simt::warp() - 1; tile * kTileSlots < wide_.num_slots; tile += kScanWarps) {
      scan_slots<kMinima>(tile);
    }
    if (simt::warp() % 4 != 0) return;
    HASHEVICT_NO_UNROLL
    for (int32_t tile = simt::warp() / 4 - 1; tile < kPastTokens / kTileSlots; tile += kScanWarps / 4) {
      scan_tokens<kMinima>(chunk, tile);
    }
  }

  template <bool kMinima>
  HASHEVICT_DEVICE void scan_slots(int32_t tile) {
    constexpr uint32_t kScale = kMinima ? 0U - 1U : 1U;  // of 255 - smallest
    const ShortKeys& keys = wide_.keys;
    const uint32_t scale = kScale << keys.shift;
    const uint32_t tie = 2 * keys.most() - kZero<kMinima> * scale;  // of a key whose owner is 0
    const int32_t sinks = prompt_.head.num_sink_tokens;
    const int32_t first_recent = wide_.position - prompt_.head.recent_window;  // of the chunk's first step
    const auto evictable = static_cast<uint32_t>(first_recent > sinks ? first_recent - sinks : 0);
    ScannedRow rows[2];
    Code<kBits> codes[2];
    uint32_t scales[2];  // 0 where there is no slot: with a power of two, the compiler would shift and add
    uint32_t ties[2];
    int32_t positions[2];
    bool valid[2];
    bool plain = true;  // whether all steps may evict both rows
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      const int32_t row = tile * kTileSlots + group_ + 8 * h;
      valid[h] = row < wide_.num_slots;
      const int32_t slot = valid[h] ? row : wide_.num_slots - 1;  // a load that is not needed is cheaper than a branch
      scales[h] = valid[h] ? scale : 0;
      positions[h] = all_.position(slot);
      codes[h] = all_.code(slot);
      ties[h] = tie - 2 * static_cast<uint32_t>(keys.oldest_first ? positions[h] : slot);
      plain = plain && valid[h] && static_cast<uint32_t>(positions[h] - sinks) < evictable;
      if constexpr (kMinima) rows[h] = {0, minimum(slot), valid[h] ? slot : -1};
    }
    uint32_t scores[2][kLaneSteps];
    score<kMinima, false>(codes, rows, scores);
    // Two copies of the whole, so that the compiler does not make the rare one's work predicated work of every tile.
    if (simt::all(simt::kFullMask, plain)) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        insert(i, scores[0][i] * scales[0] + ties[0], scores[1][i] * scales[1] + ties[1]);
      }
    } else {
      int32_t first_steps[2];
      HASHEVICT_UNROLL
      for (int32_t h = 0; h < 2; ++h) {
        first_steps[h] = valid[h] ? wide_.first_step(prompt_.head, positions[h]) : kWideTokens;
      }
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        insert(i, own_step(i) < first_steps[0] ? 0 : scores[0][i] * scales[0] + ties[0],
               own_step(i) < first_steps[1] ? 0 : scores[1][i] * scales[1] + ties[1]);
      }
    }
  }

  /// Two keys join the bests of the lane's bucket in its i-th step.
  HASHEVICT_DEVICE void insert(int32_t i, uint32_t a, uint32_t b) {
    const uint32_t larger = a < b ? b : a;
    const uint32_t smaller = a < b ? a : b;
    const uint32_t beaten = larger < firsts_[i] ? larger : firsts_[i];
    firsts_[i] = larger < firsts_[i] ? firsts_[i] : larger;
    const uint32_t rest = smaller < beaten ? beaten : smaller;
    seconds_[i] = rest < seconds_[i] ? seconds_[i] : rest;
  }

  /// Scores tokens as if they were in slots: those of the chunk before, then the chunk's own.
  template <bool kMinima>
  HASHEVICT_DEVICE void scan_tokens(const Chunk& chunk, int32_t tile) {
    const int32_t first = tile * kTileSlots + group_;
    const bool own = first >= kWideTokens;
    const Chunk of_tile = chunk.of(own ? wide_.parity : 1 - wide_.parity);
    const int32_t count = own ? wide_.count : wide_.before;
    ScannedRow rows[2];
    Code<kBits> codes[2];
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      const int32_t token = first % kWideTokens + 8 * h;
      codes[h] = {};
      rows[h] = {own ? token + 1 : 0, kScoreOffsetBits + 255U, -1};
      if (token >= count) continue;
      codes[h] = staged_code<kBits>(of_tile, token, 0);
      if constexpr (kMinima) {
        rows[h].place = prompt_.head.capacity + (own ? 0 : kWideTokens) + token;
        if (!own) rows[h].smallest = minimum(prompt_.head.capacity + token);
      }
    }
    uint32_t scores[2][kLaneSteps];
    score<kMinima, true>(codes, rows, scores);
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        const uint32_t bits = scores[h][i];
        const uint32_t number = kMinima ? kZero<kMinima> - bits : bits - kZero<kMinima>;
        bests_.scores.store(wide_.score(own_step(i), first + 8 * h), static_cast<uint16_t>(number));
      }
    }
  }

  /// The bits of two rows' scores in the lane's steps. The sums start from the scores of a code without a bit: no
  /// partial sum is below them by more than they are above kScoreOffset, so all are multiples of kUnit with 24 digits.
  template <bool kMinima, bool kTokens>
  HASHEVICT_DEVICE void score(const Code<kBits> (&codes)[2], const ScannedRow (&rows)[2],
                              uint32_t (&scores)[2][kLaneSteps]) const {
    float sums[kStepTiles][4];
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < kStepTiles; ++n) bests_.bases.load_many(2 * own_step(2 * n), sums[n]);
    HASHEVICT_UNROLL
    for (int32_t s = 0; s < kProducts<kBits>; ++s) {
      const uint32_t upper = spread<kBits>(codes[0].words[s / 2]) >> quad_;
      const uint32_t lower = spread<kBits>(codes[1].words[s / 2]) >> quad_;
      const uint32_t even[4] = {factors<0>(upper), factors<0>(lower), factors<4>(upper), factors<4>(lower)};
      const uint32_t odd[4] = {factors<8>(upper), factors<8>(lower), factors<12>(upper), factors<12>(lower)};
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < kStepTiles; ++n) {
        const int32_t i = s * kStepTiles + n;
        uint32_t weights[2];
        if (i < kHeldWeights) {
          weights[0] = weights_[i][0];
          weights[1] = weights_[i][1];
        } else {
          load_weights(i, weights);
        }
        simt::mma<false>(sums[n], s % 2 == 0 ? even : odd, weights);
      }
    }
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) scores[h][i] = simt::bits_of_float(sums[i / 2][2 * h + i % 2]);
      if constexpr (kMinima) keep_smallest<kTokens>(rows[h], scores[h]);
    }
  }

  /// Replaces a row's distances by the smallest so far, over the steps of the four lanes of a quad in turn.
  template <bool kTokens>
  HASHEVICT_DEVICE void keep_smallest(const ScannedRow& row, uint32_t (&scores)[kLaneSteps]) const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneSteps; ++i) {
      if (kTokens && own_step(i) < row.born) scores[i] = kScoreOffsetBits + 255U;
      if (i > 0) scores[i] = scores[i] < scores[i - 1] ? scores[i] : scores[i - 1];
    }
    const uint32_t smallest = scores[kLaneSteps - 1];
    uint32_t before = row.smallest;
    HASHEVICT_UNROLL
    for (int32_t k = 1; k < 4; ++k) {
      const uint32_t other = simt::shuffle(simt::kFullMask, smallest, quad_ < k ? simt::lane() : simt::lane() - k);
      if (quad_ >= k && other < before) before = other;
    }
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneSteps; ++i) scores[i] = scores[i] < before ? scores[i] : before;
    if (quad_ == 3 && row.place >= 0) {
      const uint32_t after = scores[kLaneSteps - 1] - kScoreOffsetBits;
      bests_.smallest.store(minima(wide_.parity) + row.place, static_cast<uint8_t>(after));
    }
  }

  const Prompt& prompt_;
  const AllSlots& all_;
  const Bests& bests_;
  const WideChunk wide_;
  int32_t group_ = simt::lane() / 4;  // row of a half tile
  int32_t quad_ = simt::lane() % 4;
  uint32_t weights_[kHeldWeights][2];
  uint32_t firsts_[kLaneSteps] = {};
  uint32_t seconds_[kLaneSteps] = {};
};

}  // namespace hashevict::kernels
