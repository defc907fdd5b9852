// SPDX-License-Identifier: Apache-2.0
#include "cpu/scan_kernel.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/scan_kernel.cpp"
#include <hwy/foreach_target.h>
// clang-format: Highway wants this order
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kMaxCodeBytes = 16;
constexpr int32_t kProbesPerPass = 31;  // bytes count to 8 per probe and must stay below 256

#if HWY_TARGET == HWY_SCALAR

/// Vectors of one byte cannot hold a code: plain loops.
void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                      int32_t num_probes, uint32_t* distances) {
  for (int32_t slot = 0; slot < num_slots; ++slot) {
    uint32_t sum = 0;
    for (int32_t i = 0; i < num_probes * code_bytes; ++i) {
      const int different = codes[slot * code_bytes + i % code_bytes] ^ probes[i];
      sum += static_cast<uint32_t>(__builtin_popcount(static_cast<unsigned>(different)));
    }
    distances[slot] = sum;
  }
}

#else

/// Repeats a code over a whole vector; `kBytes` divides every vector size.
template <int kBytes, class D>
HWY_INLINE hn::Vec<D> broadcast_code(D d, const uint8_t* code) {
  HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES];
  for (size_t i = 0; i < hn::Lanes(d); i += kBytes) std::memcpy(bytes + i, code, kBytes);
  return hn::Load(d, bytes);
}

/// Counts per byte to sums per code of `kBytes` bytes, added to distances[0 ..) (or stored, in the first pass).
template <int kBytes, class D>
HWY_INLINE void add_counts(D d, hn::Vec<D> counts, bool first_pass, uint32_t* distances) {
  using Word = std::conditional_t<
      kBytes == 1, uint8_t,
      std::conditional_t<kBytes == 2, uint16_t, std::conditional_t<kBytes == 4, uint32_t, uint64_t>>>;
  HWY_ALIGN Word sums[HWY_MAX_BYTES / sizeof(Word)];
  const hn::Repartition<Word, D> words;
  if constexpr (kBytes == 1) {
    hn::Store(counts, d, sums);
  } else if constexpr (kBytes == 2) {
    const auto pairs = hn::BitCast(words, counts);
    hn::Store(hn::Add(hn::ShiftRight<8>(pairs), hn::And(pairs, hn::Set(words, Word{0xFF}))), words, sums);
  } else if constexpr (kBytes == 4) {
    const auto quads = hn::BitCast(words, counts);
    const auto mask = hn::Set(words, Word{0x00FF00FF});
    const auto pairs = hn::Add(hn::And(hn::ShiftRight<8>(quads), mask), hn::And(quads, mask));
    hn::Store(hn::Add(hn::ShiftRight<16>(pairs), hn::And(pairs, hn::Set(words, Word{0xFFFF}))), words, sums);
  } else {
    hn::Store(hn::SumsOf8(counts), words, sums);
  }
  const size_t codes = hn::Lanes(d) / kBytes;
  constexpr size_t kWordsPerCode = kBytes / sizeof(Word);
  for (size_t i = 0; i < codes; ++i) {
    uint32_t sum = 0;
    for (size_t w = 0; w < kWordsPerCode; ++w) sum += static_cast<uint32_t>(sums[i * kWordsPerCode + w]);
    distances[i] = first_pass ? sum : distances[i] + sum;
  }
}

/// One pass over the slots with up to kProbesPerPass probes.
template <int kBytes>
HWY_INLINE void distance_pass(const uint8_t* codes, int32_t num_slots, const uint8_t* probes, int32_t num_probes,
                              bool first_pass, uint32_t* distances) {
  const hn::ScalableTag<uint8_t> d;
  const size_t slots_per_vector = hn::Lanes(d) / kBytes;
  HWY_ALIGN uint8_t patterns[kProbesPerPass * HWY_MAX_BYTES];
  for (int32_t p = 0; p < num_probes; ++p) {
    hn::Store(broadcast_code<kBytes>(d, probes + p * kBytes), d, patterns + static_cast<size_t>(p) * hn::Lanes(d));
  }
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += slots_per_vector) {
    const auto code = hn::LoadU(d, codes + slot * kBytes);
    auto counts = hn::PopulationCount(hn::Xor(code, hn::Load(d, patterns)));
    for (size_t p = 1; p < static_cast<size_t>(num_probes); ++p) {
      counts = hn::Add(counts, hn::PopulationCount(hn::Xor(code, hn::Load(d, patterns + p * hn::Lanes(d)))));
    }
    add_counts<kBytes>(d, counts, first_pass, distances + slot);
  }
}

void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                      int32_t num_probes, uint32_t* distances) {
  for (int32_t done = 0; done < num_probes; done += kProbesPerPass) {
    const int32_t count = std::min(num_probes - done, kProbesPerPass);
    const uint8_t* const pass = probes + done * code_bytes;
    switch (code_bytes) {
      case 1:
        distance_pass<1>(codes, num_slots, pass, count, done == 0, distances);
        break;
      case 2:
        distance_pass<2>(codes, num_slots, pass, count, done == 0, distances);
        break;
      case 4:
        distance_pass<4>(codes, num_slots, pass, count, done == 0, distances);
        break;
      case 8:
        distance_pass<8>(codes, num_slots, pass, count, done == 0, distances);
        break;
      default:
        distance_pass<kMaxCodeBytes>(codes, num_slots, pass, count, done == 0, distances);
        break;
    }
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

/// Distances to scores, with the rule's accumulator. Plain loops: the compiler vectorises them for this target.
template <class Rule>
HWY_INLINE void apply_rule(const ScanSlots& args) {
  using Accumulator = typename Rule::Accumulator;
  const core::StepFacts facts = args.facts;
  uint32_t* const scores = args.scores;
  if constexpr (core::kHasAccumulator<Rule>) {
    auto* const accumulators = reinterpret_cast<Accumulator*>(args.accumulators);
    for (int32_t j = 0; j < args.num_slots; ++j) {
      const Accumulator updated = Rule::update(accumulators[j], scores[j], facts);
      accumulators[j] = updated;
      scores[j] = Rule::score(updated, scores[j], args.positions[j], facts);
    }
  } else {
    for (int32_t j = 0; j < args.num_slots; ++j) scores[j] = Rule::score({}, scores[j], args.positions[j], facts);
  }
}

void ScoreSlots(const ScanSlots& args) {
  core::visit_rule(*args.config, [&](auto rule) HWY_ATTR {
    using Rule = decltype(rule);
    if constexpr (Rule::kProbe != core::Probe::none) {
      HammingDistances(args.codes, args.code_bytes, args.num_slots, args.probes, args.num_probes, args.scores);
    } else {
      std::fill_n(args.scores, args.num_slots, 0U);
    }
    apply_rule<Rule>(args);
  });
}

/// Lanes of a block of slots that may be evicted.
template <class D>
HWY_INLINE hn::Mask<D> evictable(D d, const SelectSlot& args, size_t slot) {
  const auto positions = hn::LoadU(d, args.positions + slot);
  return hn::And(hn::Gt(positions, hn::Set(d, args.first_position - 1)),
                 hn::Lt(positions, hn::Set(d, args.end_position)));
}

/// Largest score among the evictable, 0 where none is.
HWY_INLINE uint32_t largest_score(const SelectSlot& args) {
  const hn::ScalableTag<int32_t> di;
  const hn::ScalableTag<uint32_t> du;
  auto best = hn::Zero(du);
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += hn::Lanes(du)) {
    const auto allowed = hn::RebindMask(du, evictable(di, args, slot));
    best = hn::Max(best, hn::IfThenElseZero(allowed, hn::LoadU(du, args.scores + slot)));
  }
  return hn::GetLane(hn::MaxOfLanes(du, best));
}

int32_t SelectSlotTarget(const SelectSlot& args) {
  const hn::ScalableTag<int32_t> di;
  const hn::ScalableTag<uint32_t> du;
  const auto best = hn::Set(du, largest_score(args));
  int32_t oldest = std::numeric_limits<int32_t>::max();
  int32_t chosen = -1;
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += hn::Lanes(du)) {
    const auto equal = hn::RebindMask(di, hn::Eq(hn::LoadU(du, args.scores + slot), best));
    const auto candidates = hn::And(equal, evictable(di, args, slot));
    if (HWY_LIKELY(hn::AllFalse(di, candidates))) continue;
    if (!args.oldest_first) return static_cast<int32_t>(slot) + static_cast<int32_t>(hn::FindFirstTrue(di, candidates));
    const auto positions = hn::LoadU(di, args.positions + slot);
    const auto masked = hn::IfThenElse(candidates, positions, hn::Set(di, std::numeric_limits<int32_t>::max()));
    const int32_t low = hn::GetLane(hn::MinOfLanes(di, masked));
    if (low >= oldest) continue;
    oldest = low;
    chosen = static_cast<int32_t>(slot) + static_cast<int32_t>(hn::FindFirstTrue(di, hn::Eq(masked, hn::Set(di, low))));
  }
  return chosen;
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {

HWY_EXPORT(ScoreSlots);
HWY_EXPORT(HammingDistances);
HWY_EXPORT(SelectSlotTarget);

void score_slots(const ScanSlots& args) {
  HWY_DYNAMIC_DISPATCH(ScoreSlots)(args);
}

void hamming_distances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                       int32_t num_probes, uint32_t* distances) {
  HWY_DYNAMIC_DISPATCH(HammingDistances)(codes, code_bytes, num_slots, probes, num_probes, distances);
}

int32_t select_slot(const SelectSlot& args) {
  return HWY_DYNAMIC_DISPATCH(SelectSlotTarget)(args);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
