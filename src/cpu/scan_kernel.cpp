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
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kMaxCodeBytes = 16;
constexpr size_t kMaxVectorBytes = kScanSlots;  // a multiple of slots is then a multiple of any vector of codes
constexpr size_t kChains = 4;                   // independent accumulators; kScanSlots is a multiple of their lanes
constexpr uint32_t kNone = ~0U;
constexpr size_t kCodesAhead = 1024;    // bytes; other heads' attention has driven the codes out of the caches
constexpr int32_t kProbesPerPass = 31;  // bytes count to 8 per probe and must stay below 256

#if HWY_TARGET == HWY_SCALAR

/// Vectors of one byte cannot hold a code: plain loops.
void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                      int32_t num_probes, const int32_t* /*positions*/, uint32_t* distances) {
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

/// Stores one vector of distances, or adds it to those of earlier passes.
template <class D>
HWY_INLINE void put_distances(D d, hn::Vec<D> sums, bool first_pass, uint32_t* distances) {
  if (!first_pass) sums = hn::Add(sums, hn::LoadU(d, distances));
  hn::StoreU(sums, d, distances);
}

/// Widens sums of narrow type T to distances, a part of the vector at a time.
template <class T, class D>
HWY_INLINE void put_narrow(D d, hn::Vec<D> sums, bool first_pass, uint32_t* distances) {
  const hn::CappedTag<uint32_t, kMaxVectorBytes / 4> wide;
  const hn::Rebind<T, decltype(wide)> part;
  HWY_ALIGN T narrow[HWY_MAX_BYTES / sizeof(T)];
  hn::Store(sums, d, narrow);
  for (size_t i = 0; i < hn::Lanes(d); i += hn::Lanes(wide)) {
    put_distances(wide, hn::PromoteTo(wide, hn::LoadU(part, narrow + i)), first_pass, distances + i);
  }
}

/// Counts per byte to sums per code of `kBytes` bytes, at most 4, stored or added to distances[0 ..).
template <int kBytes, class D>
HWY_INLINE void add_counts(D d, hn::Vec<D> counts, bool first_pass, uint32_t* distances) {
  if constexpr (kBytes == 1) {
    put_narrow<uint8_t>(d, counts, first_pass, distances);
  } else if constexpr (kBytes == 2) {
    const hn::Repartition<uint16_t, D> words;
    const auto pairs = hn::BitCast(words, counts);
    const auto low = hn::And(pairs, hn::Set(words, uint16_t{0xFF}));
    put_narrow<uint16_t>(words, hn::Add(hn::ShiftRight<8>(pairs), low), first_pass, distances);
  } else {
    const hn::Repartition<uint32_t, D> words;
    const auto quads = hn::BitCast(words, counts);
    const auto mask = hn::Set(words, 0x00FF00FFU);
    const auto pairs = hn::Add(hn::And(hn::ShiftRight<8>(quads), mask), hn::And(quads, mask));
    const auto low = hn::And(pairs, hn::Set(words, 0xFFFFU));
    put_distances(words, hn::Add(hn::ShiftRight<16>(pairs), low), first_pass, distances);
  }
}

/// The same for codes of 8 or 16 bytes, of which a vector holds few: `counts` are as many vectors as give one of
/// distances.
template <int kBytes, class D>
HWY_INLINE void add_long_counts(D d, const hn::Vec<D> (&counts)[kBytes / 4], bool first_pass, uint32_t* distances) {
  const hn::Repartition<uint64_t, decltype(d)> words;
  const hn::Repartition<uint32_t, decltype(d)> halves;
  hn::Vec<decltype(words)> sums[2];
  for (int i = 0; i < 2; ++i) {
    if constexpr (kBytes == 8) {
      sums[i] = hn::SumsOf8(counts[i]);
    } else {
      const auto low = hn::SumsOf8(counts[2 * i]);
      const auto high = hn::SumsOf8(counts[2 * i + 1]);
      sums[i] = hn::Add(hn::ConcatEven(words, high, low), hn::ConcatOdd(words, high, low));
    }
  }
  put_distances(halves, hn::ConcatEven(halves, hn::BitCast(halves, sums[1]), hn::BitCast(halves, sums[0])), first_pass,
                distances);
}

/// Short codes and several probes: the sum over probes of a nibble's distance depends on the nibble alone, so a table
/// of 16 sums per nibble replaces the loop over probes. Entries of other bytes than the table's are looked up as 0.
template <int kBytes>
HWY_INLINE void table_pass(const uint8_t* codes, int32_t num_slots, const uint8_t* probes, int32_t num_probes,
                           const int32_t* positions, bool first_pass, uint32_t* distances) {
  const hn::CappedTag<uint8_t, kMaxVectorBytes> d;
  HWY_ALIGN uint8_t tables[kBytes * 2][16] = {};
  for (int32_t t = 0; t < kBytes * 2; ++t) {
    for (int32_t p = 0; p < num_probes; ++p) {
      const int probe = probes[p * kBytes + t / 2] >> (4 * (t % 2)) & 15;
      for (int x = 0; x < 16; ++x) {
        tables[t][x] = static_cast<uint8_t>(tables[t][x] + __builtin_popcount(static_cast<unsigned>(probe ^ x)));
      }
    }
  }
  HWY_ALIGN uint8_t other_bytes[kBytes][HWY_MAX_BYTES];
  for (size_t byte = 0; byte < kBytes; ++byte) {
    for (size_t i = 0; i < hn::Lanes(d); ++i) other_bytes[byte][i] = i % kBytes == byte ? 0 : 0x80;
  }
  const auto nibble = hn::Set(d, uint8_t{15});
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += hn::Lanes(d) / kBytes) {
    if (positions != nullptr) hwy::Prefetch(positions + slot);
    const auto code = hn::LoadU(d, codes + slot * kBytes);
    const auto low = hn::And(code, nibble);
    const auto high = hn::And(hn::ShiftRight<4>(code), nibble);
    auto counts = hn::Zero(d);
    for (size_t byte = 0; byte < kBytes; ++byte) {
      const auto others = hn::Load(d, other_bytes[byte]);
      const auto low_sums = hn::TableLookupBytesOr0(hn::LoadDup128(d, tables[2 * byte]), hn::Or(low, others));
      const auto high_sums = hn::TableLookupBytesOr0(hn::LoadDup128(d, tables[2 * byte + 1]), hn::Or(high, others));
      counts = hn::Add(counts, hn::Add(low_sums, high_sums));
    }
    add_counts<kBytes>(d, counts, first_pass, distances + slot);
  }
}

/// One pass over the slots with up to kProbesPerPass probes.
template <int kBytes>
HWY_INLINE void distance_pass(const uint8_t* codes, int32_t num_slots, const uint8_t* probes, int32_t num_probes,
                              const int32_t* positions, bool first_pass, uint32_t* distances) {
  const hn::CappedTag<uint8_t, kMaxVectorBytes> d;
  const size_t slots_per_vector = hn::Lanes(d) / kBytes;
  HWY_ALIGN uint8_t patterns[kProbesPerPass * HWY_MAX_BYTES];
  for (int32_t p = 0; p < num_probes; ++p) {
    hn::Store(broadcast_code<kBytes>(d, probes + int64_t{p} * kBytes), d,
              patterns + static_cast<size_t>(p) * hn::Lanes(d));
  }
  constexpr size_t kVectors = kBytes <= 4 ? 1 : kBytes / 4;
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += kVectors * slots_per_vector) {
    if (positions != nullptr) hwy::Prefetch(positions + slot);
    hwy::Prefetch(codes + slot * kBytes + kCodesAhead);
    hn::Vec<decltype(d)> code[kVectors], counts[kVectors];
    for (size_t i = 0; i < kVectors; ++i) {
      code[i] = hn::LoadU(d, codes + (slot + i * slots_per_vector) * kBytes);
      counts[i] = hn::PopulationCount(hn::Xor(code[i], hn::Load(d, patterns)));
    }
    for (size_t p = 1; p < static_cast<size_t>(num_probes); ++p) {
      const auto pattern = hn::Load(d, patterns + p * hn::Lanes(d));
      for (size_t i = 0; i < kVectors; ++i) {
        counts[i] = hn::Add(counts[i], hn::PopulationCount(hn::Xor(code[i], pattern)));
      }
    }
    if constexpr (kBytes <= 4) {
      add_counts<kBytes>(d, counts[0], first_pass, distances + slot);
    } else {
      add_long_counts<kBytes>(d, counts, first_pass, distances + slot);
    }
  }
}

void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                      int32_t num_probes, const int32_t* positions, uint32_t* distances) {
  for (int32_t done = 0; done < num_probes; done += kProbesPerPass) {
    const int32_t count = std::min(num_probes - done, kProbesPerPass);
    const uint8_t* const pass = probes + int64_t{done} * code_bytes;
    const bool by_table = count > 1;
    const bool first = done == 0;
    switch (code_bytes) {
      case 1:
        by_table ? table_pass<1>(codes, num_slots, pass, count, positions, first, distances)
                 : distance_pass<1>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 2:
        by_table ? table_pass<2>(codes, num_slots, pass, count, positions, first, distances)
                 : distance_pass<2>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 4:
        distance_pass<4>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 8:
        distance_pass<8>(codes, num_slots, pass, count, positions, first, distances);
        break;
      default:
        distance_pass<kMaxCodeBytes>(codes, num_slots, pass, count, positions, first, distances);
        break;
    }
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

/// Distances to scores, with the rule's accumulator. Plain loops: the compiler vectorises them for this target, as all
/// that they read is theirs alone.
template <class Rule>
HWY_INLINE void apply_rule(const ScanSlots& args) {
  using Accumulator = typename Rule::Accumulator;
  const core::StepFacts facts = args.facts;
  const int32_t num_slots = args.num_slots;
  const int32_t* const HWY_RESTRICT positions = args.positions;
  uint32_t* const HWY_RESTRICT scores = args.scores;
  if constexpr (core::kHasAccumulator<Rule>) {
    auto* const HWY_RESTRICT accumulators = reinterpret_cast<Accumulator*>(args.accumulators);
    for (int32_t j = 0; j < num_slots; ++j) {
      const Accumulator updated = Rule::update(accumulators[j], scores[j], facts);
      accumulators[j] = updated;
      scores[j] = Rule::score(updated, scores[j], positions[j], facts);
    }
  } else {
    for (int32_t j = 0; j < num_slots; ++j) scores[j] = Rule::score({}, scores[j], positions[j], facts);
  }
}

void ScoreSlots(const ScanSlots& args) {
  const int32_t* const fetched = args.many_protected ? args.positions : nullptr;
  core::visit_rule(*args.config, [&](auto rule) HWY_ATTR {
    using Rule = decltype(rule);
    if constexpr (Rule::kCountsEqualBits) {
      uint8_t complement[kMaxCodeBytes];  // of the only probe
      for (int32_t i = 0; i < args.code_bytes; ++i) complement[i] = static_cast<uint8_t>(~args.probes[i]);
      HammingDistances(args.codes, args.code_bytes, args.num_slots, complement, 1, fetched, args.scores);
      return;
    }
    if constexpr (Rule::kProbe != core::Probe::none) {
      HammingDistances(args.codes, args.code_bytes, args.num_slots, args.probes, args.num_probes, fetched, args.scores);
    } else {
      std::fill_n(args.scores, args.num_slots, 0U);
    }
    apply_rule<Rule>(args);
  });
}

/// Lanes of positions that may be evicted.
template <class D>
HWY_INLINE hn::Mask<D> evictable(D d, const SelectSlot& args, hn::Vec<D> positions) {
  const auto first = hn::Set(d, static_cast<uint32_t>(args.first_position));
  const auto newest = hn::Set(d, static_cast<uint32_t>(args.end_position - 1 - args.first_position));
  const auto distance = hn::Sub(positions, first);  // wraps round below the first
  return hn::Eq(hn::Min(distance, newest), distance);
}

/// Positions as unsigned numbers, so that those of empty slots (-1) lie beyond all others.
template <class D>
HWY_INLINE hn::Vec<D> load_positions(D d, const SelectSlot& args, size_t slot) {
  return hn::LoadU(d, reinterpret_cast<const uint32_t*>(args.positions) + slot);
}

/// Largest score of all slots, or of the evictable alone (0 where none is).
template <bool kEvictableOnly>
HWY_INLINE uint32_t largest_score(const SelectSlot& args) {
  const hn::CappedTag<uint32_t, kMaxVectorBytes / 4> d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<decltype(d)> best[kChains] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += kChains * lanes) {
    for (size_t c = 0; c < kChains; ++c) {
      const size_t at = slot + c * lanes;
      auto scores = hn::LoadU(d, args.scores + at);
      if constexpr (kEvictableOnly) {
        scores = hn::IfThenElseZero(evictable(d, args, load_positions(d, args, at)), scores);
      }
      best[c] = hn::Max(best[c], scores);
    }
  }
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(best[0], best[1]), hn::Max(best[2], best[3]))));
}

/// The slot to evict among the evictable ones with exactly this score, or -1. Equal scores are rare for codes of random
/// projections and the rule for learned votes: a block without any is left at once, and one with many has no branch.
template <bool kOldestFirst>
HWY_INLINE int32_t slot_with_score(const SelectSlot& args, uint32_t score) {
  const hn::CappedTag<uint32_t, kMaxVectorBytes / 4> d;
  const size_t lanes = hn::Lanes(d);
  const auto wanted = hn::Set(d, score);
  const auto none = hn::Set(d, kNone);
  auto ranks = none;  // the smallest position, or slot, of each lane
  auto slots = none;  // and where it lies
  for (size_t slot = 0; slot < static_cast<size_t>(args.num_slots); slot += kChains * lanes) {
    hn::Mask<decltype(d)> equal[kChains];
    for (size_t c = 0; c < kChains; ++c) equal[c] = hn::Eq(hn::LoadU(d, args.scores + slot + c * lanes), wanted);
    const auto any = hn::Or(hn::Or(equal[0], equal[1]), hn::Or(equal[2], equal[3]));
    if (hn::AllFalse(d, any)) continue;
    for (size_t c = 0; c < kChains; ++c) {
      const auto index = hn::Iota(d, static_cast<uint32_t>(slot + c * lanes));
      const auto positions = load_positions(d, args, slot + c * lanes);
      const auto candidates = hn::And(equal[c], evictable(d, args, positions));
      const auto lowest = hn::Min(ranks, hn::IfThenElse(candidates, kOldestFirst ? positions : index, none));
      slots = hn::IfThenElse(hn::Eq(lowest, ranks), slots, index);
      ranks = lowest;
    }
  }
  const auto is_first = hn::Eq(ranks, hn::MinOfLanes(d, ranks));  // in one lane, or there is no candidate at all
  return static_cast<int32_t>(hn::GetLane(hn::MinOfLanes(d, hn::IfThenElse(is_first, slots, none))));
}

template <bool kOldestFirst>
HWY_INLINE int32_t select(const SelectSlot& args) {
  if (args.end_position <= args.first_position) return -1;
  if (!args.many_protected) {
    // The largest score of all is most often that of an evictable slot: look at positions only where it is not.
    const int32_t likely = slot_with_score<kOldestFirst>(args, largest_score<false>(args));
    if (HWY_LIKELY(likely >= 0)) return likely;
  }
  return slot_with_score<kOldestFirst>(args, largest_score<true>(args));
}

int32_t SelectSlotTarget(const SelectSlot& args) {
  return args.oldest_first ? select<true>(args) : select<false>(args);
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
  HWY_DYNAMIC_DISPATCH(HammingDistances)(codes, code_bytes, num_slots, probes, num_probes, nullptr, distances);
}

int32_t select_slot(const SelectSlot& args) {
  return HWY_DYNAMIC_DISPATCH(SelectSlotTarget)(args);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
