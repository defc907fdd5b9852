// SPDX-License-Identifier: Apache-2.0
// Dot products of queries and the keys of one tile, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include "cpu/attend_products-inl.hpp"
#include "cpu/attend_queries-inl.hpp"
#include "cpu/rows_ahead-inl.hpp"

#if defined(HASHEVICT_CPU_ATTEND_DOTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_DOTS_INL_HPP
#undef HASHEVICT_CPU_ATTEND_DOTS_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_DOTS_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
/// Adds the 128-bit parts of a vector, which gives four lanes.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::CappedTag<float, 4>> add_parts(D /*d*/,
                                                                                      hwy::HWY_NAMESPACE::Vec<D> v) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return add_parts(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}

/// Returns the sums of the lanes of a, b, c, d as four lanes. All four sums are added in the same order.
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::CappedTag<float, 4>> sum_lanes(FloatVector a, FloatVector b,
                                                                                      FloatVector c, FloatVector d) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats tag;
  const hn::Repartition<uint64_t, Floats> wide;
  const auto ab = hn::Add(hn::InterleaveLower(tag, a, b), hn::InterleaveUpper(tag, a, b));
  const auto cd = hn::Add(hn::InterleaveLower(tag, c, d), hn::InterleaveUpper(tag, c, d));
  const auto low = hn::InterleaveLower(wide, hn::BitCast(wide, ab), hn::BitCast(wide, cd));
  const auto high = hn::InterleaveUpper(wide, hn::BitCast(wide, ab), hn::BitCast(wide, cd));
  return add_parts(tag, hn::Add(hn::BitCast(tag, low), hn::BitCast(tag, high)));
}
#endif

/// Stores the lane sums of each of `sums`.
template <int kSums>
HWY_INLINE void store_dots(const FloatVector (&sums)[kSums], float* dots) {
  namespace hn = hwy::HWY_NAMESPACE;
#if HWY_TARGET == HWY_SCALAR
  HASHEVICT_UNROLL
  for (int i = 0; i < kSums; ++i) dots[i] = hn::GetLane(sums[i]);
#else
  static_assert(kSums % 4 == 0);
  const hn::CappedTag<float, 4> four;
  HASHEVICT_UNROLL
  for (int i = 0; i < kSums; i += 4) {
    hn::StoreU(sum_lanes(sums[i], sums[i + 1], sums[i + 2], sums[i + 3]), four, dots + i);
  }
#endif
}

/// sums[key * kQueries + query] += <query, key> over the pair of vectors that starts at element `at`.
template <class Loader, int kQueries, int kKeys>
HWY_INLINE void add_dots(const typename Loader::Element* const (&key)[kKeys], int at, const float* query,
                         FloatVector* sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector first[kKeys], second[kKeys];
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) first[k] = Loader::first(key[k] + at);
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) add_products<kQueries>(first, hn::Load(d, query + q * kLanes), &sums[q]);
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) second[k] = Loader::second(key[k] + at);
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    add_products<kQueries>(second, hn::Load(d, query + (kQueries + q) * kLanes), &sums[q]);
  }
}

/// The same over the vector behind the last pair and the half vector behind that.
template <class Loader, int kQueries, int kKeys>
HWY_INLINE void add_last_dots(const typename Loader::Element* const (&key)[kKeys], int at, int head_dim,
                              const float* query, FloatVector* sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  if (at + kLanes <= head_dim) {
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) {
      add_product(load_vector<Loader>(key[i / kQueries] + at), hn::Load(d, query + i % kQueries * kLanes), sums[i]);
    }
    at += kLanes;
    query += kQueries * kLanes;
  }
  if constexpr (kLanes > kHeadDimStep) {
    if (at < head_dim) {
      HASHEVICT_UNROLL
      for (int i = 0; i < kQueries * kKeys; ++i) {
        add_product(load_rest<Loader>(key[i / kQueries] + at), hn::Load(d, query + i % kQueries * kLanes), sums[i]);
      }
    }
  }
}

/// dots[key * kQueries + query] = <query, key> for kKeys keys. Lanes are dimensions: keys and queries share their
/// loads, then one reduction serves four sums. Fetches as many bytes as it reads.
template <class Loader, int kQueries, int kKeys>
HWY_INLINE void dot_keys(const unsigned char* keys, const int64_t* offsets, const float* query, int head_dim,
                         float* dots, LinesAhead& ahead) {
  constexpr int kPair = 2 * kLanes;
  constexpr int kLine = kLineBytes / static_cast<int>(sizeof(typename Loader::Element));
  constexpr int kChunk = HWY_MAX(kLine, kPair);
  const typename Loader::Element* key[kKeys];
  FloatVector sums[kQueries * kKeys];
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) key[k] = elements_of<Loader>(keys + offsets[k]);
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hwy::HWY_NAMESPACE::Zero(Floats());
  int dim = 0;
  for (; dim + kChunk <= head_dim; dim += kChunk) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kKeys * (kChunk / kLine); ++line) ahead.fetch();
    HASHEVICT_UNROLL_TWICE
    for (int at = 0; at < kChunk; at += kPair, query += kPair * kQueries) {
      add_dots<Loader, kQueries, kKeys>(key, dim + at, query, sums);
    }
  }
  for (; dim + kPair <= head_dim; dim += kPair, query += kPair * kQueries) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kKeys * kPair / kLine; ++line) ahead.fetch();
    add_dots<Loader, kQueries, kKeys>(key, dim, query, sums);
  }
  add_last_dots<Loader, kQueries, kKeys>(key, dim, head_dim, query, sums);
  store_dots(sums, dots);
}

/// Dots by products of fp32. Packed queries include the scale of the softmax.
template <class Loader>
struct WidenedDots {
  static constexpr bool kScaled = true;

  static void pack(const AttendSplit& split, int32_t first_query, const QuerySet& set) {
    pack_queries<Loader>(split, first_query, set);
  }
  template <int kQueries, int kKeys>
  static HWY_INLINE void of_keys(const unsigned char* keys, const int64_t* offsets, const float* queries, int head_dim,
                                 float* dots, LinesAhead& ahead) {
    dot_keys<Loader, kQueries, kKeys>(keys, offsets, queries, head_dim, dots, ahead);
  }
};

/// dots[j * kQueries + query] = <query, key j> for j < count. It computes some more, since offsets repeat the last one
/// up to the tile's end. Fetches the tile's values, whose rows have the same offsets.
/// @param queries packed by Dots::pack()
template <class Dots, int kQueries>
HWY_NOINLINE void dot_tile(const unsigned char* keys, const RowsAhead& values, int count, const float* queries,
                           int head_dim, float* dots) {
  constexpr int kKeys = !kManyRegisters && kQueries == 4 ? 3 : kFactors<kQueries>;
  constexpr int kRest = kKeys == 3 ? 2 : kKeys;
  static_assert(kTileSlots % kKeys == 0 || kTileSlots % kKeys == kRest, "no key is read beyond the offsets");
  const int64_t* const offsets = values.offsets;
  LinesAhead ahead(values, 0);
  int j = 0;
  for (; j + kKeys <= count; j += kKeys) {
    if (!values.dense) {
      for (int k = 0; k < kKeys; ++k) fetch_row(values, j + k);
    }
    Dots::template of_keys<kQueries, kKeys>(keys, offsets + j, queries, head_dim, dots + j * kQueries, ahead);
  }
  if (j < count) {
    Dots::template of_keys<kQueries, kRest>(keys, offsets + j, queries, head_dim, dots + j * kQueries, ahead);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
