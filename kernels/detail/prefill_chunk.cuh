// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_stage.cuh"

/// What a block knows of a wide chunk, whose steps are prepared together, and the keys by which its steps choose.
///
/// While one warp takes the steps of a chunk, the others scan the slots for the next one. So a scan sees the slots as
/// they are before the chunk that is being taken. Its candidates are *stale slots* then: those that neither this chunk
/// nor the one before it has replaced. What else a step may evict are *tokens*, of its own chunk or of the one before.
/// Everything that the warp of the steps and the others use at the same time exists twice, or only one side writes it
/// behind a barrier: codes, scores of tokens, slots of tokens and minima have a copy for each parity of a chunk.
namespace hashevict::kernels {

inline constexpr int32_t kScanWarps = kChooseWarps - 1;  ///< warp 0 takes the steps
inline constexpr int32_t kBuckets = kScanWarps * 8;      ///< a warp has a bucket for each row of half a tile
inline constexpr int32_t kListWords = 2 * kBuckets + 4;  ///< of a step; the last four spread rows over the banks
inline constexpr int32_t kPastTokens = 2 * kWideTokens;  ///< tokens of a chunk and of the one before it
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

/// Eviction keys in 32 bits, in the order of eviction_key(): the score, the tie, and a bit that marks a bound. A bound
/// is at least as large as the key of any slot that it stands for. 0: no slot.
struct ShortKeys {
  uint32_t shift;  ///< of the score
  bool oldest_first;

  [[nodiscard]] HASHEVICT_DEVICE uint32_t most() const { return (1U << (shift - 1)) - 1; }
  /// Never 0, as both numbers are below most().
  [[nodiscard]] HASHEVICT_DEVICE uint32_t tie(int32_t position, int32_t slot) const {
    return (most() - static_cast<uint32_t>(oldest_first ? position : slot)) << 1;
  }
  [[nodiscard]] HASHEVICT_DEVICE uint32_t tie_of(uint32_t key) const { return key & most() << 1; }
  /// The position, or the slot, of a key.
  [[nodiscard]] HASHEVICT_DEVICE int32_t owner(uint32_t key) const {
    return static_cast<int32_t>(most() - (key >> 1 & most()));
  }
  [[nodiscard]] HASHEVICT_DEVICE bool same_owner(uint32_t a, uint32_t b) const { return tie_of(a ^ b) == 0; }
};
inline constexpr uint32_t kBound = 1;

/// Probes of a step.
HASHEVICT_HOST_DEVICE inline int32_t num_probes(const Layer& layer) {
  return layer.rule.facts.probe == core::Probe::queries ? layer.shape.group_size : 1;
}

/// Whether scores are of a kind that a scan can compute for many steps at once.
HASHEVICT_HOST_DEVICE inline bool scans_many_steps(const Layer& layer) {
  return layer.rule.facts.scored != core::Scored::otherwise && num_probes(layer) <= kMostProbes;
}

HASHEVICT_DEVICE ShortKeys short_keys(const Layer& layer) {
  const bool smallest = layer.rule.facts.scored == core::Scored::smallest_distance;
  const int32_t largest = smallest ? 255 : num_probes(layer) * layer.rule.hash_bits;
  uint32_t shift = 32;
  for (int32_t rest = largest; rest != 0; rest /= 2) --shift;
  return {shift, layer.rule.oldest_first};
}

HASHEVICT_HOST_DEVICE inline bool keeps_minima(const Layer& layer) {
  return layer.rule.facts.scored == core::Scored::smallest_distance;
}

/// A block's arrays for the steps of wide chunks.
struct Bests {
  simt::SharedArray<uint32_t> weights;  ///< [products, tiles of steps, lanes, 2] pairs of fp16, as operands of mma()
  simt::SharedArray<float> bases;     ///< [steps / 2, 2, 2] scores of codes without a bit, as kScoreOffset says, twice
  simt::SharedArray<uint32_t> lists;  ///< [steps, kListWords] the two largest keys of each bucket
  simt::SharedArray<uint16_t>
      scores;                        ///< [parities, steps, kPastTokens] of the tokens, those of the chunk before first
  simt::SharedArray<uint32_t> ties;  ///< [tokens] ties of the tokens that are left after their chunk; 0: replaced
  simt::SharedArray<uint32_t> keys;  ///< [tokens] the key of a token's victim
  simt::SharedArray<int32_t> buckets;   ///< [tokens] its bucket; plus kBuckets if it is of the chunk before; -1: none
  simt::SharedArray<int32_t> roots;     ///< [tokens] the token that had the slot first, of kPastTokens
  simt::SharedArray<int32_t> victims;   ///< [tokens] the position that a token replaces; -1: none
  simt::SharedArray<int32_t> slots;     ///< [parities, tokens] the slot of each token; -1: none
  simt::SharedArray<uint8_t> smallest;  ///< [parities, minima_of()] accumulators after the chunk; empty for other rules
};

/// Minima of a parity: those of the slots, of the chunk's tokens and of the tokens before.
HASHEVICT_HOST_DEVICE inline int32_t minima_of(int32_t capacity) {
  return capacity + kPastTokens;
}

/// Words of all arrays of fixed size.
template <int32_t kBits>
inline constexpr int32_t kBestsWords = kWeights<kBits> + kWideTokens*(kListWords + kPastTokens + 9);

template <int32_t kBits>
HASHEVICT_HOST_DEVICE inline int64_t bests_bytes(const Layer& layer, int32_t capacity) {
  return int64_t{kBestsWords<kBits>} * 4 +
         (keeps_minima(layer) ? (2 * int64_t{minima_of(capacity)} + 15) / 16 * 16 : 0);
}

/// A block takes them before anything else: the places of arrays of fixed size are then constants, not registers.
template <int32_t kBits>
HASHEVICT_DEVICE Bests take_bests(simt::SharedMemory& memory, const Layer& layer, int32_t capacity) {
  const auto weights = memory.take<uint32_t>(kWeights<kBits>);
  const auto bases = memory.take<float>(2 * kWideTokens);
  const auto lists = memory.take<uint32_t>(kWideTokens * kListWords);
  const auto scores = memory.take<uint16_t>(2 * kWideTokens * kPastTokens);
  const auto ties = memory.take<uint32_t>(kWideTokens);
  const auto keys = memory.take<uint32_t>(kWideTokens);
  const auto buckets = memory.take<int32_t>(kWideTokens);
  const auto roots = memory.take<int32_t>(kWideTokens);
  const auto victims = memory.take<int32_t>(kWideTokens);
  const auto slots = memory.take<int32_t>(2 * kWideTokens);
  const auto smallest = memory.take<uint8_t>(keeps_minima(layer) ? 2 * minima_of(capacity) : 0);
  return {weights, bases, lists, scores, ties, keys, buckets, roots, victims, slots, smallest};
}

/// A wide chunk of a prompt: the steps that are prepared together.
struct WideChunk {
  int32_t first;        ///< index of its first token in the row
  int32_t position;     ///< of that token
  int32_t count;        ///< tokens; 0 or less: no such chunk
  int32_t before;       ///< tokens of the chunk before it: all of one, or none
  int32_t num_slots;    ///< valid slots before these
  int32_t parity;       ///< which copy of what exists twice
  int32_t first_probe;  ///< first of a token's codes that slots are measured against
  int32_t end_probe;
  ShortKeys keys;

  /// Slots with a lower position are stale.
  [[nodiscard]] HASHEVICT_DEVICE int32_t stale_end() const { return position - before; }
  /// Whether the step of a token measures distances.
  [[nodiscard]] HASHEVICT_DEVICE bool measures(const Prompt& prompt, int32_t step) const {
    return step < count && (prompt.rule().accumulates || position + step >= prompt.head.capacity);
  }
  /// Whether some step measures distances.
  [[nodiscard]] HASHEVICT_DEVICE bool scans(const Prompt& prompt) const {
    return count > 0 && measures(prompt, count - 1);
  }
  /// The first step that may evict a position: 0 or less means all of them, kWideTokens none.
  [[nodiscard]] HASHEVICT_DEVICE int32_t first_step(const Head& head, int32_t evicted) const {
    const int32_t first_recent = position - head.recent_window;  // of the chunk's first step
    if (evicted < head.num_sink_tokens || evicted >= first_recent + kWideTokens) return kWideTokens;
    return evicted - first_recent + 1;
  }
  /// Where the score of a token, of kPastTokens, in a step lies.
  [[nodiscard]] HASHEVICT_DEVICE int32_t score(int32_t step, int32_t token) const {
    return (parity * kWideTokens + step) * kPastTokens + token;
  }
};

/// The chunk that starts at a token of the row.
HASHEVICT_DEVICE WideChunk wide_chunk(const Prompt& prompt, int32_t first) {
  const int32_t left = prompt.row.num_tokens - first;
  const int32_t position = prompt.row.before + first;
  const int32_t before = first > 0 ? kWideTokens : 0;
  const int32_t first_probe = prompt.rule().probe == core::Probe::new_key ? 0 : 1;
  return {first,
          position,
          left < kWideTokens ? left : kWideTokens,
          before,
          prompt.head.length(position - before),
          first / kWideTokens % 2,
          first_probe,
          first_probe + num_probes(prompt.layer()),
          short_keys(prompt.layer())};
}

HASHEVICT_DEVICE int32_t lowest_bit(uint32_t bits) {
  return simt::popcount((bits & (0U - bits)) - 1U);
}

HASHEVICT_DEVICE int32_t bucket_of_slot(int32_t slot) {
  return slot / kTileSlots % kScanWarps * 8 + slot % 8;
}

/// The n-th slot of a bucket.
HASHEVICT_DEVICE int32_t slot_of_bucket(int32_t bucket, int32_t n) {
  return (bucket / 8 + n / 2 * kScanWarps) * kTileSlots + bucket % 8 + n % 2 * 8;
}

}  // namespace hashevict::kernels
