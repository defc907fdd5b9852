// SPDX-License-Identifier: Apache-2.0
// Converts bit counts per byte to distances per code, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include <cstdint>

#include "cpu/scan_kernel.hpp"

#if defined(HASHEVICT_CPU_BIT_COUNTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_BIT_COUNTS_INL_HPP
#undef HASHEVICT_CPU_BIT_COUNTS_INL_HPP
#else
#define HASHEVICT_CPU_BIT_COUNTS_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kMaxVectorBytes = kScanSlots;  // a multiple of kScanSlots slots then fills whole vectors of codes

#if HWY_TARGET != HWY_SCALAR

/// Stores one vector of distances, or adds it to the distances of earlier passes.
template <class D>
HWY_INLINE void put_distances(D d, hn::Vec<D> sums, bool first_pass, uint32_t* distances) {
  if (!first_pass) sums = hn::Add(sums, hn::LoadU(d, distances));
  hn::StoreU(sums, d, distances);
}

/// Widens sums of a narrow type T to distances, one part of the vector at a time.
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

/// Adds the counts per byte of each code of `kBytes` bytes, at most 4, and stores the sums or adds them to distances.
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

/// The same for codes of 8 or 16 bytes, of which a vector holds few: `counts` are the vectors that make one vector of
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

#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
