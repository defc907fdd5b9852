// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/clocks.cuh"
#include "kernels/detail/step.cuh"

/// The parts of decode() that depend on the rule. Every kernel has them all and runs each once a token, so here the
/// rule and the width of codes are switched at run time, around the few instructions that differ.
namespace hashevict::kernels {

/// A token and the KV head that takes it.
struct DecodeItem {
  int32_t sequence;
  int32_t kv_head;
  int32_t token;
  int32_t position;
  int32_t capacity;     ///< of the head
  int32_t first_split;  ///< of the head, among those of the layer
  int32_t split_bits;   ///< binary logarithm of the slots of a split

  /// Valid slots before the token is placed.
  [[nodiscard]] HASHEVICT_DEVICE int32_t length() const { return position < capacity ? position : capacity; }
  [[nodiscard]] HASHEVICT_DEVICE bool is_full() const { return position >= capacity; }
  [[nodiscard]] HASHEVICT_DEVICE int32_t num_splits() const { return core::splits_of(length(), split_bits); }
};

/// Encodes `count` vectors, the first rows of `shared.staged`, into the codes from `first_code` on. Lane = bit. A warp
/// takes a word of several vectors, two at a time: their sums run side by side and share the loads of the projection.
/// Each sum is that of project_word().
HASHEVICT_DEVICE void project_staged(const Layer& layer, const float* projection, const StepShared& shared,
                                     int32_t count, int32_t first_code) {
  constexpr int32_t kMany = 32;  // elements of the projection whose loads are in flight together
  constexpr int32_t kFew = 8;    // divides head_dim
  const int32_t bits = layer.rule.hash_bits;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t words = code_words(bits);  // 1, 2 or 4
  const int32_t groups = kAttendWarps / words;
  const int32_t each = (count + groups - 1) / groups;
  const int32_t word = simt::warp() % words;
  const int32_t first = simt::warp() / words * each;
  const int32_t end = first + each < count ? first + each : count;
  const int32_t bit = word * 32 + simt::lane();
  HASHEVICT_NO_UNROLL
  for (int32_t v = first; v < end; v += 2) {
    const int32_t both[2] = {v * head_dim, (v + 1 < end ? v + 1 : v) * head_dim};
    float sums[2] = {};
    const float* weight = projection + bit;
    HASHEVICT_NO_UNROLL
    for (int32_t base = 0; base < head_dim; base += kMany) {
      float weights[kMany];
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; ++i) {
        weights[i] = 0.0F;
        if (bit < bits && base + i / kFew * kFew < head_dim) weights[i] = simt::load_constant(weight);
        weight += bits;
      }
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < kMany; i += kFew) {
        if (base + i >= head_dim) break;
        HASHEVICT_UNROLL
        for (int32_t n = 0; n < 2; ++n) {
          float values[kFew];
          shared.staged.load_many(both[n] + base + i, values);
          HASHEVICT_UNROLL
          for (int32_t k = 0; k < kFew; ++k) sums[n] = simt::fma(weights[i + k], values[k], sums[n]);
        }
      }
    }
    HASHEVICT_UNROLL
    for (int32_t n = 0; n < 2; ++n) {
      const uint32_t code = simt::ballot(simt::kFullMask, bit < bits && sums[n] >= 0.0F);
      if (simt::lane() == 0 && v + n < end) shared.codes.store((first_code + v + n) * words + word, code);
    }
  }
}

/// Stages the mean of all keys, the new one included, as vector 1.
HASHEVICT_DEVICE void stage_mean(const EvictParams& p, const Head& head, const DecodeItem& item,
                                 const StepShared& shared) {
  HASHEVICT_NO_UNROLL
  for (int32_t e = simt::thread_index(); e < p.layer.shape.head_dim; e += kAttendThreads) {
    const float key = input_element(p.layer, head, p.q, p.k, item.token, 0, e);
    const float mean =
        simt::divide(simt::add(simt::load(head.key_sums + e), key), static_cast<float>(item.position + 1));
    shared.staged.store(p.layer.shape.head_dim + e, centered(p.layer, head, 0, e, mean));
  }
}

/// encode_token() and make_probe(): the key into code 0; the rule's probe into code 1, or the group's queries into
/// codes 1, 2, .. Ends with a barrier.
HASHEVICT_DEVICE void encode_step(const EvictParams& p, const Head& head, const DecodeItem& item,
                                  const StepShared& shared) {
  const Layer& layer = p.layer;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t words = code_words(layer.rule.hash_bits);
  const int32_t num_vectors = layer.rule.facts.needs_queries ? 1 + layer.shape.group_size : 1;
  const bool has_mean = layer.rule.facts.needs_key_sums && (item.is_full() || layer.rule.facts.accumulates);
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_vectors; first += kStagedVectors) {
    const int32_t count = num_vectors - first < kStagedVectors ? num_vectors - first : kStagedVectors;
    HASHEVICT_NO_UNROLL
    for (int32_t i = 8 * simt::thread_index(); i < count * head_dim; i += 8 * kAttendThreads) {
      const int32_t e = i % head_dim;
      const int32_t vector = first + i / head_dim;
      float values[8];
      const Vectors x = vector == 0 ? p.k : p.q;
      const int64_t index = vector == 0 ? head.kv_head : int64_t{head.kv_head} * layer.shape.group_size + vector - 1;
      load_eight_of(x, item.token * x.stride[0] + index * x.stride[1], e, values);
      if (vector == 0) shared.key.store_many(e, values);
      if (head.key_centers != nullptr) {
        HASHEVICT_UNROLL
        for (int32_t k = 0; k < 8; ++k) values[k] = centered(layer, head, vector, e + k, values[k]);
      }
      shared.staged.store_many(i, values);
    }
    if (has_mean) stage_mean(p, head, item, shared);
    simt::block_sync();
    project_staged(layer, head.projection, shared, has_mean ? 2 : count, first);
    if (first == 0 && layer.rule.facts.needs_importance && simt::thread_index() == kAttendThreads - 1) {
      stage_importance(p, head, item.token, shared);  // while other warps encode
    }
    if (layer.rule.facts.probe == core::Probe::zero && simt::thread_index() < words) {
      shared.codes.store(words + simt::thread_index(), 0U);
    }
    simt::block_sync();
  }
}

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

/// Sums of the distances of slots to the probes.
template <int32_t kBits, int32_t kScanned>
HASHEVICT_DEVICE void measure_slots(const Head& head, const StepShared& shared, const Probes& probes,
                                    const ScannedRange& range, uint32_t (&distances)[kScanned]) {
  Code<kBits> codes[kScanned];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    codes[i] = {};
    if (range.has(i)) codes[i] = load_code<kBits>(head.codes, range.slot(i));
  }
  HASHEVICT_NO_UNROLL
  for (int32_t n = 0; n < probes.count; ++n) {
    const Code<kBits> probe = shared_code<kBits>(shared.codes, probes.first + n);
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kScanned; ++i) distances[i] += hamming_distance(codes[i], probe);
  }
}

/// Scores of slots. Updates the accumulators of rules that accumulate.
template <class Rule, int32_t kScanned>
HASHEVICT_DEVICE void score_slots(const Head& head, const core::StepFacts& facts, const ScannedRange& range,
                                  const int32_t (&positions)[kScanned], const uint32_t (&distances)[kScanned],
                                  uint32_t (&scores)[kScanned]) {
  typename Rule::Accumulator accumulators[kScanned];
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    accumulators[i] = {};
    if (!range.has(i)) continue;
    if constexpr (core::kHasAccumulator<Rule>) accumulators[i] = simt::load(accumulator_at<Rule>(head, range.slot(i)));
    if constexpr (core::kReadsImportance<Rule>) accumulators[i] = importance_at(head, range.slot(i));
  }
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < kScanned; ++i) {
    if constexpr (Rule::kAccumulates) {
      accumulators[i] = Rule::update(accumulators[i], distances[i], facts);
      if (range.has(i)) simt::store(accumulator_at<Rule>(head, range.slot(i)), accumulators[i]);
    }
    scores[i] = Rule::score(accumulators[i], distances[i], positions[i], facts);
  }
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
    int32_t positions[kScanned];
    uint32_t distances[kScanned] = {};
    uint32_t scores[kScanned];
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kScanned; ++i)
      positions[i] = range.has(i) ? simt::load(head.positions + range.slot(i)) : -1;
    if (probes.count > 0) {
      visit_bits(layer.rule.hash_bits, [&](auto bits) {
        measure_slots<decltype(bits)::value, kScanned>(head, shared, probes, range, distances);
      });
    }
    core::visit_rule(layer.rule.kind, [&](auto rule) {
      score_slots<decltype(rule), kScanned>(head, facts, range, positions, distances, scores);
    });
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < kScanned; ++i) {
      const int32_t position = positions[i];
      if (!range.has(i) || position < head.num_sink_tokens || position >= item.position - head.recent_window) continue;
      const uint64_t key = eviction_key(layer, scores[i], position, range.slot(i), position >= head.prompt_length);
      if (key > best.key) best = {key, range.slot(i)};
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
    for (int32_t e = simt::thread_index(); e < layer.shape.head_dim; e += kAttendThreads) {
      simt::store(head.key_sums + e, simt::add(simt::load(head.key_sums + e), shared.key.load(e)));
    }
  }
  store_rows(layer, head, p.k, p.v, item.token, slot);
  if (simt::thread_index() != 0) return;
  replace_position(p, head, item.token, item.position, slot);
  visit_bits(layer.rule.hash_bits,
             [&](auto bits) { store_code(head.codes, slot, shared_code<decltype(bits)::value>(shared.codes, 0)); });
  core::visit_rule(layer.rule.kind, [&](auto rule) { replace_accumulator<decltype(rule)>(head, shared, slot); });
}

}  // namespace hashevict::kernels
