// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/prefill_stage.cuh"

/// The best victims of 32 steps at once. The slots of a head are divided into 128 buckets. For each step of a wide
/// chunk and each bucket, a scan finds the two slots with the largest eviction keys, as if no step of the chunk had
/// replaced any. Distances come from tensor cores: the distances of a slot to all probes of a step add up to
/// sum over bits b of (c_b ? P - n_b : n_b), where n_b of the P probes have bit b set. That is a product of the slot's
/// bits with P - 2 n_b, plus the sum of n_b, all small integers, so it is exact.
namespace hashevict::kernels {

inline constexpr int32_t kBuckets = kChooseWarps * 8;  ///< a warp has a bucket for each row of half a tile
inline constexpr int32_t kTileSlots = 16;
inline constexpr int32_t kMostProbes = 32;  ///< of a step

inline constexpr int32_t kStepTiles = kWideTokens / 8;  ///< products that have all steps as columns
inline constexpr int32_t kLaneSteps = 2 * kStepTiles;   ///< steps of a lane

/// Products of 16 bits that a distance takes.
template <int32_t kBits>
inline constexpr int32_t kProducts = kBits <= 16 ? 1 : kBits / 16;

/// Words of the weights of a chunk.
template <int32_t kBits>
inline constexpr int32_t kWeights = kProducts<kBits>* kStepTiles* simt::kWarpSize * 2;

/// The step of column `column` of tile `tile`. A lane has columns 2 q and 2 q + 1 of each tile, q its number in its
/// quad; they are neighbouring steps.
HASHEVICT_DEVICE int32_t step_of_column(int32_t tile, int32_t column) {
  return column / 2 * kLaneSteps + 2 * tile + column % 2;
}

/// Eviction keys in 32 bits, in the order of eviction_key(): the score, the tie, and a bit that marks a bound. A bound
/// is at least as large as the key of any slot that it stands for. 0: no slot.
struct ShortKeys {
  uint32_t shift;  ///< of the score
  bool oldest_first;

  [[nodiscard]] HASHEVICT_DEVICE uint32_t most() const { return (1U << (shift - 1)) - 1; }
  [[nodiscard]] HASHEVICT_DEVICE uint32_t tie(int32_t position, int32_t slot) const {
    return (most() - static_cast<uint32_t>(oldest_first ? position : slot)) << 1;
  }
  /// The position, or the slot, of a key.
  [[nodiscard]] HASHEVICT_DEVICE int32_t owner(uint32_t key) const {
    return static_cast<int32_t>(most() - (key >> 1 & most()));
  }
  [[nodiscard]] HASHEVICT_DEVICE bool same_owner(uint32_t a, uint32_t b) const { return ((a ^ b) >> 1 & most()) == 0; }
};
inline constexpr uint32_t kBound = 1;

/// Probes of a step.
HASHEVICT_HOST_DEVICE inline int32_t num_probes(const Layer& layer) {
  return layer.rule.facts.probe == core::Probe::queries ? layer.shape.group_size : 1;
}

inline constexpr int32_t kMostWideBits = 64;  ///< of a code: ptxas would spill with more

/// Whether scores are of a kind that a scan can compute for many steps at once.
HASHEVICT_HOST_DEVICE inline bool scans_many_steps(const Layer& layer) {
  return layer.rule.hash_bits <= kMostWideBits && layer.rule.facts.scored != core::Scored::otherwise &&
         num_probes(layer) <= kMostProbes;
}

HASHEVICT_DEVICE ShortKeys short_keys(const Layer& layer) {
  const bool smallest = layer.rule.facts.scored == core::Scored::smallest_distance;
  const int32_t largest = smallest ? 255 : num_probes(layer) * layer.rule.hash_bits;
  uint32_t shift = 32;
  for (int32_t rest = largest; rest != 0; rest /= 2) --shift;
  return {shift, layer.rule.oldest_first};
}

/// A block's arrays for the steps of a wide chunk.
struct Bests {
  simt::SharedArray<uint32_t> weights;  ///< [products, tiles of steps, lanes, 2] pairs of fp16, as operands of mma()
  simt::SharedArray<float> bases;       ///< [steps] score of a code without a bit, as kScoreOffset says
  simt::SharedArray<uint32_t> firsts;   ///< [steps, buckets] largest key of each bucket
  simt::SharedArray<uint32_t> seconds;  ///< [steps, buckets] the next one
  simt::SharedArray<uint32_t> own;      ///< [steps, tokens] scores of the chunk's own tokens, in later steps
  simt::SharedArray<int32_t> slots;     ///< [tokens] the slot of each token; -1: none
  simt::SharedArray<int32_t> victims;   ///< [tokens] the position that it replaces; -1: none
  simt::SharedArray<uint8_t> smallest;  ///< [slots + tokens] accumulators after the chunk; empty for other rules
};

/// Words of all arrays of fixed size.
template <int32_t kBits>
inline constexpr int32_t kBestsWords = kWeights<kBits> + kWideTokens*(2 * kBuckets + kWideTokens + 3);

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int64_t bests_bytes(const Layer& layer, int32_t capacity) {
  const bool smallest = layer.rule.facts.scored == core::Scored::smallest_distance;
  return int64_t{kBestsWords<kBits>} * 4 + (smallest ? (int64_t{capacity} + kWideTokens + 15) / 16 * 16 : 0);
}

/// A block takes them before anything else: the places of arrays of fixed size are then constants, not registers.
template <int32_t kBits>
HASHEVICT_DEVICE Bests take_bests(simt::SharedMemory& memory, const Layer& layer, int32_t capacity) {
  const bool smallest = layer.rule.facts.scored == core::Scored::smallest_distance;
  const auto weights = memory.take<uint32_t>(kWeights<kBits>);
  const auto bases = memory.take<float>(kWideTokens);
  const auto firsts = memory.take<uint32_t>(kWideTokens * kBuckets);
  const auto seconds = memory.take<uint32_t>(kWideTokens * kBuckets);
  const auto own = memory.take<uint32_t>(kWideTokens * kWideTokens);
  const auto slots = memory.take<int32_t>(kWideTokens);
  const auto victims = memory.take<int32_t>(kWideTokens);
  return {weights, bases, firsts,  seconds,
          own,     slots, victims, memory.take<uint8_t>(smallest ? capacity + kWideTokens : 0)};
}

/// A wide chunk of a prompt: the steps that are prepared together.
struct WideChunk {
  int32_t first;        ///< index of its first token in the row
  int32_t position;     ///< of that token
  int32_t count;        ///< tokens
  int32_t num_slots;    ///< valid slots before it
  int32_t first_probe;  ///< first of a token's codes that slots are measured against
  int32_t end_probe;
  ShortKeys keys;

  /// Whether the step of a token measures distances.
  [[nodiscard]] HASHEVICT_DEVICE bool measures(const Prompt& prompt, int32_t step) const {
    return step < count && (prompt.rule().accumulates || position + step >= prompt.head.capacity);
  }
  /// The first step that may evict a position: 0 or less means all of them, kWideTokens none.
  [[nodiscard]] HASHEVICT_DEVICE int32_t first_step(const Head& head, int32_t evicted) const {
    const int32_t first_recent = position - head.recent_window;  // of the chunk's first step
    if (evicted < head.num_sink_tokens || evicted >= first_recent + kWideTokens) return kWideTokens;
    return evicted - first_recent + 1;
  }
};

/// The scores that all bits set to 0 have. Scores come from tensor cores in units of kUnit, so that a bit of a code
/// becomes a factor by a shift alone. Added to kUnit * 2^23, a score stands in the lowest bits of the sum.
inline constexpr float kUnit = 1.0F / 16384;
inline constexpr float kScoreOffset = 512.0F;              // kUnit * 2^23
inline constexpr uint32_t kScoreOffsetBits = 0x44000000U;  // of this float
inline constexpr uint32_t kUnitPair = 0x04000400U;         // kUnit in fp16, twice

/// Bit 16 + b of the result is bit b of the upper half of a code's word.
template <int32_t kBits>
HASHEVICT_DEVICE uint32_t spread(uint32_t word) {
  return kBits <= 16 ? (word & 0xFFU) | (word & 0xFF00U) << 8 : word;
}

/// Factors of the bits `bit` and `bit` + 16 of a spread word that was shifted down by the lane's number in its quad.
template <int32_t kBit>
HASHEVICT_DEVICE uint32_t factors(uint32_t word) {
  if constexpr (kBit <= 10) {
    return word << (10 - kBit) & kUnitPair;
  } else {
    return word >> (kBit - 10) & kUnitPair;
  }
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
    const int32_t bit = lane % 4 + 4 * half + 8 * (product % 2);
    uint32_t low = 0;  // probes with the bit set
    uint32_t high = 0;
    const bool measures = wide.measures(prompt, step);
    for (int32_t n = wide.first_probe; measures && n < wide.end_probe; ++n) {
      const int32_t code = step * chunk.codes_of_token + n;
      const uint32_t word = spread<kBits>(chunk.codes.load(code * kCodeWords<kBits> + product / 2));
      low += word >> bit & 1U;
      high += word >> (bit + 16) & 1U;
    }
    const auto weight = [&](uint32_t set) {
      return uint32_t{simt::float_to_half(static_cast<float>(sign * (probes - 2 * static_cast<int32_t>(set))))};
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
    bests.bases.store(step, simt::fma(static_cast<float>(base), kUnit, kScoreOffset));
  }
  simt::block_sync();
}

/// What a lane knows of a row of a tile: a slot, or one of the chunk's own tokens. Scores come as the bits of floats:
/// kScoreOffsetBits more than the distance, the equal bits or the smallest distance.
struct ScannedRow {
  uint32_t scale;      ///< factor of these bits in keys; 0: no step evicts it
  uint32_t tie;        ///< the rest of its keys
  int32_t first_step;  ///< that may evict it, where some may
  uint32_t smallest;   ///< its accumulator, as such bits
  int32_t place;       ///< in Bests::smallest; -1: none
};

/// A warp's pass over its tiles.
template <int32_t kBits, class AllSlots>
class TileScan {
 public:
  HASHEVICT_DEVICE TileScan(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const WideChunk& wide,
                            const Bests& bests)
      : prompt_{prompt}, all_{all}, chunk_{chunk}, wide_{wide}, bests_{bests} {}

  /// Scans tile `tile` of the slots.
  HASHEVICT_DEVICE void scan_slots(int32_t tile) {
    ScannedRow rows[2];
    Code<kBits> codes[2];
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      const int32_t slot = tile * kTileSlots + group_ + 8 * h;
      codes[h] = {};
      rows[h] = {0, 0, 0, kScoreOffsetBits + 255U, -1};
      if (slot >= wide_.num_slots) continue;
      const int32_t position = all_.position(slot);
      codes[h] = all_.code(slot);
      const int32_t first_step = wide_.first_step(prompt_.head, position);
      if (first_step < kWideTokens) {
        const uint32_t scale = 1U << wide_.keys.shift;
        rows[h].first_step = first_step;
        rows[h].scale = smallest_ ? 0U - scale : scale;  // of 255 - smallest
        rows[h].tie = wide_.keys.tie(position, slot) - zero_ * rows[h].scale;
      }
      if (!smallest_) continue;
      rows[h].smallest = kScoreOffsetBits + all_.accumulator(slot);
      rows[h].place = slot;
    }
    uint32_t scores[2][kLaneSteps];
    score<false>(codes, rows, 0, scores);
    const bool masks = simt::any(simt::kFullMask, rows[0].first_step > 0 || rows[1].first_step > 0);
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        uint32_t key = scores[h][i] * rows[h].scale + rows[h].tie;
        if (masks && own_step(i) < rows[h].first_step) key = 0;
        const uint32_t lower = key < firsts_[i] ? key : firsts_[i];
        firsts_[i] = key < firsts_[i] ? firsts_[i] : key;
        seconds_[i] = lower < seconds_[i] ? seconds_[i] : lower;
      }
    }
  }

  /// Scans tile `tile` of the chunk's own tokens, as if they were in slots.
  HASHEVICT_DEVICE void scan_tokens(int32_t tile) {
    const int32_t first = tile * kTileSlots + group_;
    ScannedRow rows[2];
    Code<kBits> codes[2];
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      const int32_t token = first + 8 * h;
      codes[h] = {};
      rows[h] = {0, 0, 0, kScoreOffsetBits + 255U, -1};
      if (token >= wide_.count) continue;
      codes[h] = staged_code<kBits>(chunk_, token, 0);
      if (smallest_) rows[h].place = prompt_.head.capacity + token;
    }
    uint32_t scores[2][kLaneSteps];
    score<true>(codes, rows, first, scores);
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        const uint32_t bits = scores[h][i];
        bests_.own.store(own_step(i) * kWideTokens + first + 8 * h, smallest_ ? zero_ - bits : bits - zero_);
      }
    }
  }

  /// Stores the bests of the warp's buckets.
  HASHEVICT_DEVICE void store() const {
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kLaneSteps; ++i) {
      const int32_t place = own_step(i) * kBuckets + simt::warp() * 8 + group_;
      const uint32_t first = firsts_[i];
      const uint32_t second = seconds_[i];
      bests_.firsts.store(place, first);
      bests_.seconds.store(place, second);
    }
  }

 private:
  /// The i-th of the lane's steps.
  [[nodiscard]] HASHEVICT_DEVICE int32_t own_step(int32_t i) const { return quad_ * kLaneSteps + i; }

  /// The bits of two rows' scores in the lane's steps.
  /// @param token of the first row, where rows are tokens; 8 behind it is the second one
  template <bool kTokens>
  HASHEVICT_DEVICE void score(const Code<kBits> (&codes)[2], const ScannedRow (&rows)[2], int32_t token,
                              uint32_t (&scores)[2][kLaneSteps]) const {
    float sums[kStepTiles][4] = {};
    HASHEVICT_UNROLL
    for (int32_t s = 0; s < kProducts<kBits>; ++s) {
      const uint32_t upper = spread<kBits>(codes[0].words[s / 2]) >> quad_;
      const uint32_t lower = spread<kBits>(codes[1].words[s / 2]) >> quad_;
      const uint32_t even[4] = {factors<0>(upper), factors<0>(lower), factors<4>(upper), factors<4>(lower)};
      const uint32_t odd[4] = {factors<8>(upper), factors<8>(lower), factors<12>(upper), factors<12>(lower)};
      HASHEVICT_UNROLL
      for (int32_t n = 0; n < kStepTiles; ++n) {
        uint32_t weights[2];
        bests_.weights.load_many(((s * kStepTiles + n) * simt::kWarpSize + simt::lane()) * 2, weights);
        simt::mma<false>(sums[n], s % 2 == 0 ? even : odd, weights);
      }
    }
    float bases[kLaneSteps];
    bests_.bases.load_many(own_step(0), bases);
    HASHEVICT_UNROLL
    for (int32_t h = 0; h < 2; ++h) {
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kLaneSteps; ++i) {
        scores[h][i] = simt::bits_of_float(simt::add(sums[i / 2][2 * h + i % 2], bases[i]));
        if (kTokens && smallest_ && own_step(i) <= token + 8 * h) scores[h][i] = kScoreOffsetBits + 255U;
      }
      if (smallest_) keep_smallest(rows[h], scores[h]);
    }
  }

  /// Replaces a row's distances by the smallest so far, over the steps of the four lanes of a quad in turn.
  HASHEVICT_DEVICE void keep_smallest(const ScannedRow& row, uint32_t (&scores)[kLaneSteps]) const {
    HASHEVICT_UNROLL
    for (int32_t i = 1; i < kLaneSteps; ++i) scores[i] = scores[i] < scores[i - 1] ? scores[i] : scores[i - 1];
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
      bests_.smallest.store(row.place, static_cast<uint8_t>(scores[kLaneSteps - 1] - kScoreOffsetBits));
    }
  }

  const Prompt& prompt_;
  const AllSlots& all_;
  const Chunk& chunk_;
  const WideChunk& wide_;
  const Bests& bests_;
  int32_t group_ = simt::lane() / 4;  // row of a half tile
  int32_t quad_ = simt::lane() % 4;
  bool smallest_ = prompt_.rule().scored == core::Scored::smallest_distance;
  uint32_t zero_ = smallest_ ? kScoreOffsetBits + 255U : kScoreOffsetBits;  // the bits of score 0
  uint32_t firsts_[kLaneSteps] = {};
  uint32_t seconds_[kLaneSteps] = {};
};

/// All threads find the bests of a wide chunk whose probes are staged. A barrier comes before their use.
template <int32_t kBits, class AllSlots>
HASHEVICT_DEVICE void find_bests(const Prompt& prompt, const AllSlots& all, const Chunk& chunk, const WideChunk& wide,
                                 const Bests& bests) {
  weigh_probes<kBits>(prompt, chunk, wide, bests);
  mark(Phase::weights);
  TileScan<kBits, AllSlots> scan{prompt, all, chunk, wide, bests};
  HASHEVICT_NO_UNROLL
  for (int32_t tile = simt::warp(); tile * kTileSlots < wide.num_slots; tile += kChooseWarps) scan.scan_slots(tile);
  if (simt::warp() < kWideTokens / kTileSlots) scan.scan_tokens(simt::warp());
  scan.store();
}

HASHEVICT_DEVICE int32_t lowest_bit(uint32_t bits) {
  return simt::popcount((bits & (0U - bits)) - 1U);
}

/// The n-th slot of a bucket.
HASHEVICT_DEVICE int32_t slot_of_bucket(int32_t bucket, int32_t n) {
  return (bucket / 8 + n / 2 * kChooseWarps) * kTileSlots + bucket % 8 + n % 2 * 8;
}

}  // namespace hashevict::kernels
