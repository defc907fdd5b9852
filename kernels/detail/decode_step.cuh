// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/decode_encode.cuh"

/// The parts of decode() that depend on the rule. Every kernel has them all and runs each once a token, so here the
/// rule and the width of codes are switched at run time, around the few instructions that differ.
namespace hashevict::kernels {

/// The codes that a rule measures distances to.
struct Probes {
  int32_t first;
  int32_t count;
};

HASHEVICT_DEVICE Probes probes_of(const Layer& layer) {
  switch (layer.rule.facts.probe) {
    case core::Probe::none:
      return {0, 0};
    case core::Probe::queries:
      return {1, layer.shape.group_size};
    case core::Probe::new_key:
      return {0, 1};
    case core::Probe::mean_key:
    case core::Probe::zero:
      break;
  }
  return {1, 1};
}

inline constexpr int32_t kScannedOfSplit = 2;  ///< slots that a thread scans at a time: its share of 256

/// Slots that a thread scans: `first`, `first` + threads, .. below `end`.
struct ScannedRange {
  int32_t first;
  int32_t end;

  [[nodiscard]] HASHEVICT_DEVICE int32_t slot(int32_t i) const { return first + i * kAttendThreads; }
  [[nodiscard]] HASHEVICT_DEVICE bool has(int32_t i) const { return slot(i) < end; }
};

/// A number of each slot, or a word of it, whose loads are in flight together: those of slots that the range lacks are
/// 0.
/// @param at of the range's first slot
/// @param stride bytes between two slots
/// @param bytes of the number: 0, 1, 2, or more for a word; 0: all numbers are 0
template <int32_t kScanned>
HASHEVICT_DEVICE void load_of_slots(const uint8_t* at, int32_t stride, int32_t bytes, const ScannedRange& range,
                                    uint32_t (&numbers)[kScanned]) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    const uint8_t* const number = at + i * kAttendThreads * stride;
    numbers[i] = 0;
    if (range.has(i) && bytes >= 4) numbers[i] = simt::load(reinterpret_cast<const uint32_t*>(number));
    if (range.has(i) && bytes == 2) numbers[i] = simt::load(reinterpret_cast<const uint16_t*>(number));
    if (range.has(i) && bytes == 1) numbers[i] = simt::load(number);
  }
}

/// Sums of the distances of slots to the probes, a word of the codes after the other: where codes are longer, their
/// later words come from the lines that the first one brought near.
template <int32_t kScanned>
HASHEVICT_DEVICE void measure_slots(const Head& head, int32_t hash_bits, const StepShared& shared, const Probes& probes,
                                    const ScannedRange& range, uint32_t (&distances)[kScanned]) {
  const int32_t words = code_words(hash_bits);
  const uint8_t* at = head.codes + int64_t{range.first} * (hash_bits / 8);
  HASHEVICT_NO_UNROLL
  for (int32_t w = 0; w < words; ++w, at += sizeof(uint32_t)) {
    uint32_t codes[kScanned];
    load_of_slots(at, hash_bits / 8, simt::varying(hash_bits / 8), range, codes);
    HASHEVICT_NO_UNROLL
    for (int32_t n = 0; n < probes.count; ++n) {
      const uint32_t probe = shared.codes.load((probes.first + n) * words + w);
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kScanned; ++i) {
        distances[i] += static_cast<uint32_t>(simt::popcount(codes[i] ^ probe));
      }
    }
  }
}

/// Two words that hold an accumulator of any rule.
struct AnyAccumulator {
  uint32_t words[2];

  template <class Rule>
  [[nodiscard]] HASHEVICT_DEVICE typename Rule::Accumulator get() const {
    if constexpr (core::kReadsImportance<Rule>) {
      return {simt::float_from_bits(words[0]), simt::float_from_bits(words[1])};
    } else if constexpr (core::kHasAccumulator<Rule>) {
      return static_cast<typename Rule::Accumulator>(words[0]);
    } else {
      return {};
    }
  }
};

/// The accumulators of slots, whose loads are in flight together.
template <int32_t kScanned>
HASHEVICT_DEVICE void load_accumulators(const core::RuleFacts& facts, const Head& head, const ScannedRange& range,
                                        uint32_t (&values)[kScanned], uint32_t (&slopes)[kScanned]) {
  const auto* const first = facts.needs_importance ? reinterpret_cast<const uint8_t*>(head.importances)
                                                   : static_cast<const uint8_t*>(head.accumulators);
  const int32_t bytes = facts.needs_importance ? 4 : facts.accumulator_bytes;
  load_of_slots(first + int64_t{range.first} * bytes, bytes, simt::varying(bytes), range, values);
  const bool has_slopes = simt::varying(head.importance_slopes != nullptr);
  const auto* const slopes_or_any = has_slopes ? reinterpret_cast<const uint8_t*>(head.importance_slopes)
                                               : reinterpret_cast<const uint8_t*>(head.positions);
  load_of_slots(slopes_or_any + int64_t{range.first} * 4, 4, 4,
                has_slopes ? range : ScannedRange{range.first, range.first}, slopes);
}

/// The score of a slot. Updates the accumulators of rules that accumulate.
template <class Rule>
HASHEVICT_DEVICE uint32_t score_slot(const Head& head, const core::StepFacts& facts, int32_t slot, int32_t position,
                                     uint32_t distance, const AnyAccumulator& given) {
  auto accumulator = given.get<Rule>();
  if constexpr (Rule::kAccumulates) {
    accumulator = Rule::update(accumulator, distance, facts);
    simt::store(accumulator_at<Rule>(head, slot), accumulator);
  }
  return Rule::score(accumulator, distance, position, facts);
}

/// This thread's best candidate among slots [first_slot, end). The block's threads take slots in turn; a thread's slots
/// are its own.
template <int32_t kScanned>
HASHEVICT_DEVICE Candidate scan_slots(const Layer& layer, const Head& head, const StepShared& shared,
                                      const DecodeItem& item, int32_t first_slot, int32_t end) {
  const core::StepFacts facts = core::step_facts(layer, head.kv_head, item.position);
  const Probes probes = probes_of(layer);
  Candidate best{0, -1};
  HASHEVICT_NO_UNROLL
  for (ScannedRange range{first_slot + simt::thread_index(), end}; range.first < end;
       range.first += kScanned * kAttendThreads) {
    uint32_t positions[kScanned];
    uint32_t distances[kScanned] = {};
    uint32_t values[kScanned];
    uint32_t slopes[kScanned];
    load_of_slots(reinterpret_cast<const uint8_t*>(head.positions + range.first), 4, 4, range, positions);
    load_accumulators(layer.rule.facts, head, range, values, slopes);
    if (probes.count > 0) measure_slots<kScanned>(head, layer.rule.hash_bits, shared, probes, range, distances);
    HASHEVICT_NO_UNROLL
    for (int32_t slot = range.first, i = 0; i < kScanned && slot < end; ++i, slot += kAttendThreads) {
      const auto position = static_cast<int32_t>(positions[0]);
      const uint32_t score = core::visit_rule(layer.rule.kind, [&](auto rule) {
        return score_slot<decltype(rule)>(head, facts, slot, position, distances[0], {values[0], slopes[0]});
      });
      HASHEVICT_UNROLL
      for (int32_t k = 0; k + 1 < kScanned; ++k) {  // the next slot's numbers move to the front, so registers hold all
        positions[k] = positions[k + 1];
        distances[k] = distances[k + 1];
        values[k] = values[k + 1];
        slopes[k] = slopes[k + 1];
      }
      if (position < head.num_sink_tokens || position >= item.position - head.recent_window) continue;
      const uint64_t key = eviction_key(layer, score, position, slot, position >= head.prompt_length);
      if (key > best.key) best = {key, slot};
    }
  }
  return best;
}

/// Where the warps of a block leave their candidates.
struct WarpCandidates {
  simt::SharedArray<uint64_t> keys;  ///< [warps]
  simt::SharedArray<int32_t> slots;  ///< [warps]
};

/// The largest key among a warp's lanes, and its slot. Key 0 means none.
HASHEVICT_DEVICE Candidate best_of_warp(const Candidate& own) {
  const auto high = static_cast<uint32_t>(own.key >> 32);
  const auto low = static_cast<uint32_t>(own.key);
  const uint32_t best_high = simt::warp_max(high);
  const uint32_t best_low = simt::warp_max(high == best_high ? low : 0U);
  const uint64_t best = uint64_t{best_high} << 32 | best_low;
  const uint32_t winners = simt::ballot(simt::kFullMask, own.key == best);
  return {best, simt::shuffle(simt::kFullMask, own.slot, simt::popcount((winners & (0U - winners)) - 1U))};
}

/// The same among a block's threads; all get it.
HASHEVICT_DEVICE Candidate best_of_block(const Candidate& own, const WarpCandidates& shared) {
  const Candidate of_warp = best_of_warp(own);
  if (simt::lane() == 0) {
    shared.keys.store(simt::warp(), of_warp.key);
    shared.slots.store(simt::warp(), of_warp.slot);
  }
  simt::block_sync();
  Candidate best{0, -1};
  HASHEVICT_UNROLL
  for (int32_t w = 0; w < kAttendWarps; ++w) {
    const uint64_t key = shared.keys.load(w);
    if (key > best.key) best = {key, shared.slots.load(w)};
  }
  return best;
}

/// A candidate, with slot 0 if it names no slot of the head. Where two rows name one sequence, their blocks share
/// tickets and may disagree on the number of splits, so a block may read what another launch, or another use of the
/// memory, left there.
HASHEVICT_DEVICE Candidate in_head(const Candidate& candidate, int32_t capacity) {
  const int32_t slot = candidate.slot;
  return {candidate.key, slot >= 0 && slot < capacity ? slot : 0};
}

/// Scans the slots of one split for the token that encode_step() encoded. @return the split's candidate, the same for
/// all threads; key 0 means none, as in a cache that is not yet full
template <int32_t kScanned>
HASHEVICT_DEVICE Candidate find_candidate(const EvictParams& p, const Head& head, const DecodeItem& item, int32_t split,
                                          const StepShared& shared, const WarpCandidates& candidates) {
  if (!item.is_full() && !p.layer.rule.facts.accumulates) return {0, -1};
  const int32_t first = split << item.split_bits;
  const int32_t left = item.length() - first;
  const int32_t most = 1 << item.split_bits;
  const Candidate best = scan_slots<kScanned>(p.layer, head, shared, item, first, first + (left < most ? left : most));
  if (!item.is_full()) return {0, -1};
  return best_of_block(best, candidates);
}

/// Updates the head's running sums and overwrites a slot with the token that encode_step() encoded. No other block
/// reads the slot at this point.
HASHEVICT_DEVICE void overwrite(const EvictParams& p, const Head& head, const DecodeItem& item, int32_t slot,
                                const StepShared& shared) {
  const Layer& layer = p.layer;
  if (layer.rule.facts.needs_key_sums) {
    HASHEVICT_NO_UNROLL
    for (int32_t e = simt::thread_index(); e < layer.shape.head_dim; e += kAttendThreads) {
      simt::store(head.key_sums + e, simt::add(simt::load(head.key_sums + e), shared.key.load(e)));
    }
  }
  store_rows(layer, head, p.k, p.v, item.token, slot);
  const int32_t code_bytes = layer.rule.hash_bits / 8;
  if (simt::thread_index() < code_bytes) {
    const int32_t byte = simt::thread_index();
    simt::store(head.codes + int64_t{slot} * code_bytes + byte,
                static_cast<uint8_t>(shared.codes.load(byte / 4) >> byte % 4 * 8));
  }
  if (simt::thread_index() != 0) return;
  replace_position(p, head, item.token, item.position, slot);
  core::visit_rule(layer.rule.kind, [&](auto rule) { replace_accumulator<decltype(rule)>(head, shared, slot); });
}

}  // namespace hashevict::kernels
