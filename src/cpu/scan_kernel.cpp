// SPDX-License-Identifier: Apache-2.0
#include "cpu/scan_kernel.hpp"

#include <algorithm>

#define HWY_WANT_AVX3_DL  // counts the bits of a byte in one instruction
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/scan_kernel.cpp"
#include <hwy/foreach_target.h>
// This comment keeps clang-format from sorting: Highway requires this order
#include <hwy/highway.h>

#include "cpu/block_maxima-inl.hpp"
#include "cpu/hamming-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Turns distances, if the rule has a probe, into scores, with the rule's accumulator. The compiler vectorises these
/// plain loops for this target, since none of the arrays overlap.
template <class Rule>
HWY_INLINE void apply_rule(const ScanSlots& args) {
  using Accumulator = typename Rule::Accumulator;
  const core::StepFacts facts = args.facts;
  const int32_t num_slots = args.num_slots;
  const int32_t* const HWY_RESTRICT positions = args.positions;
  uint32_t* const HWY_RESTRICT scores = args.scores;
  constexpr bool kMeasures = Rule::kProbe != core::Probe::none;  // else nothing has written distances
  if constexpr (core::kReadsImportance<Rule>) {
    const float* const HWY_RESTRICT values = args.importances;
    const float* const HWY_RESTRICT slopes = args.importance_slopes;
    if (slopes == nullptr) {
      for (int32_t j = 0; j < num_slots; ++j) scores[j] = Rule::score({values[j], 0.0F}, 0, positions[j], facts);
    } else {
      for (int32_t j = 0; j < num_slots; ++j) scores[j] = Rule::score({values[j], slopes[j]}, 0, positions[j], facts);
    }
  } else if constexpr (core::kHasAccumulator<Rule>) {
    auto* const HWY_RESTRICT accumulators = reinterpret_cast<Accumulator*>(args.accumulators);
    for (int32_t j = 0; j < num_slots; ++j) {
      Accumulator accumulator = accumulators[j];
      const uint32_t distance = kMeasures ? scores[j] : 0;
      if constexpr (Rule::kAccumulates) {
        accumulator = Rule::update(accumulator, distance, facts);
        accumulators[j] = accumulator;
      }
      scores[j] = Rule::score(accumulator, distance, positions[j], facts);
    }
  } else {
    for (int32_t j = 0; j < num_slots; ++j) {
      scores[j] = Rule::score({}, kMeasures ? scores[j] : 0, positions[j], facts);
    }
  }
}

template <class Rule>
HWY_INLINE void score_block(const ScanSlots& args) {
  const int32_t* const fetched = args.many_protected ? args.positions : nullptr;
  if constexpr (Rule::kCountsEqualBits) {
    uint8_t complement[kMaxCodeBytes];  // of the single probe
    for (int32_t i = 0; i < args.code_bytes; ++i) complement[i] = static_cast<uint8_t>(~args.probes[i]);
    HammingDistances(args.codes, args.code_bytes, args.num_slots, complement, 1, fetched, args.scores);
  } else {
    if constexpr (Rule::kProbe != core::Probe::none) {
      HammingDistances(args.codes, args.code_bytes, args.num_slots, args.probes, args.num_probes, fetched, args.scores);
    }
    apply_rule<Rule>(args);
  }
  if (args.many_protected) {
    *args.block_maxima = largest_evictable(args.scores, args.positions, args.num_slots, args.evictable);
  } else {
    find_block_maxima(args.scores, args.num_slots, args.block_maxima);
  }
}

/// Part of an array of slots, which may not exist.
template <class T>
T* part_of(T* items, int64_t first) {
  return items == nullptr ? nullptr : items + first;
}

/// Slots [first, first + kBlockSlots), or those that are left.
template <class Rule>
ScanSlots block_of(const ScanSlots& all, int32_t first) {
  constexpr int64_t kBytes = core::kHasAccumulator<Rule> ? sizeof(typename Rule::Accumulator) : 0;
  ScanSlots block = all;
  block.codes = part_of(all.codes, int64_t{first} * all.code_bytes);
  block.positions = part_of(all.positions, first);
  block.accumulators = part_of(all.accumulators, first * kBytes);
  block.importances = part_of(all.importances, first);
  block.importance_slopes = part_of(all.importance_slopes, first);
  block.scores = all.scores + first;
  block.block_maxima = all.block_maxima + first / kBlockSlots;
  block.num_slots = std::min(kBlockSlots, all.num_slots - first);
  return block;
}

/// Block by block, so that scores are still in the first-level cache when their largest is found.
void ScoreSlots(const ScanSlots& args) {
  core::visit_rule(args.rule, [&](auto rule) HWY_ATTR {
    using Rule = decltype(rule);
    for (int32_t first = 0; first < args.num_slots; first += kBlockSlots)
      score_block<Rule>(block_of<Rule>(args, first));
  });
}

void FindBlockMaxima(const uint32_t* scores, int32_t num_slots, uint32_t* maxima) {
  find_block_maxima(scores, num_slots, maxima);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {

HWY_EXPORT(ScoreSlots);
HWY_EXPORT(FindBlockMaxima);
HWY_EXPORT(HammingDistances);

void score_slots(const ScanSlots& args) {
  HWY_DYNAMIC_DISPATCH(ScoreSlots)(args);
}

void find_block_maxima(const uint32_t* scores, int32_t num_slots, uint32_t* block_maxima) {
  HWY_DYNAMIC_DISPATCH(FindBlockMaxima)(scores, num_slots, block_maxima);
}

void hamming_distances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                       int32_t num_probes, uint32_t* distances) {
  HWY_DYNAMIC_DISPATCH(HammingDistances)(codes, code_bytes, num_slots, probes, num_probes, nullptr, distances);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
