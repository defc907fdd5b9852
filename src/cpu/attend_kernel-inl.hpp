// SPDX-License-Identifier: Apache-2.0
// The two inner loops of attention, compiled once per instruction set: no include guard but Highway's.
//
// Both keep the accumulators of up to kKernelQueries queries in registers, so that each key and value is loaded and
// widened once for all of them. A query's arithmetic is the same, in the same order, in every instance: which queries
// share registers never shows in a result.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "cpu/attend_scratch.hpp"
#include "cpu/kv_loader-inl.hpp"
#include "cpu/unroll.hpp"

#if defined(HASHEVICT_CPU_ATTEND_KERNEL_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_KERNEL_INL_HPP
#undef HASHEVICT_CPU_ATTEND_KERNEL_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_KERNEL_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

constexpr int kLineBytes = 64;

template <class Element>
constexpr int kLineElements = kLineBytes / static_cast<int>(sizeof(Element));

/// Fetches the row at `row` into the cache.
template <class Element>
HWY_INLINE void prefetch_row(const Element* row, int row_elements) {
  for (int i = 0; i < row_elements; i += kLineElements<Element>) hwy::Prefetch(row + i);
}

/// The next tile's keys, to fetch into the cache on the way through the values. If dense, a line at a time between the
/// products, in ascending order: in bursts the lines wait for each other, and other orders stop the processor's own
/// prefetcher from running ahead. Otherwise in bursts, row by row.
template <class Element>
struct NextKeys {
  const Element* base;
  const int64_t* offsets;  ///< [kTileSlots]
  bool dense;              ///< one behind the other
};

/// GCC would rather load a vector again for every use than keep it, and then loads are what limits the loops.
HWY_INLINE void keep_in_register(FloatVector& vector) {
#if HWY_ARCH_X86 && HWY_COMPILER_GCC && !HWY_COMPILER_CLANG && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
  __asm__("" : "+x"(vector.raw));
#else
  (void)vector;
#endif
}

#if HWY_TARGET != HWY_SCALAR
/// The 128-bit parts of a vector added up: four lanes.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::CappedTag<float, 4>> add_parts(D /*d*/,
                                                                                      hwy::HWY_NAMESPACE::Vec<D> v) {
  namespace hn = hwy::HWY_NAMESPACE;
  if constexpr (hn::MaxLanes(D()) == 8) {
    const hn::Half<D> half;
    return hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v));
  } else {
    return v;
  }
}

/// Sums of the lanes of a, b, c, d as four lanes; each is added up in the same order.
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

/// Stores the sums of the lanes of `sums[query * kKeys + key]` at `logits[query * kTileSlots + key]`.
template <int kQueries, int kKeys>
HWY_INLINE void store_dots(const FloatVector (&sums)[kQueries * kKeys], float* logits) {
  namespace hn = hwy::HWY_NAMESPACE;
  static_assert(kKeys == 2 || kKeys % 4 == 0);
  constexpr int kSums = kQueries * kKeys;
#if HWY_TARGET == HWY_SCALAR
  HASHEVICT_UNROLL
  for (int i = 0; i < kSums; ++i) logits[i / kKeys * kTileSlots + i % kKeys] = hn::GetLane(sums[i]);
#else
  const hn::CappedTag<float, 4> four;
  const hn::Half<decltype(four)> two;
  const auto zero = hn::Zero(Floats());
  HASHEVICT_UNROLL
  for (int i = 0; i < kSums; i += 4) {
    const bool full = i + 2 < kSums;
    const auto quad = sum_lanes(sums[i], sums[i + 1], full ? sums[i + 2] : zero, full ? sums[i + 3] : zero);
    float* const row = logits + i / kKeys * kTileSlots + i % kKeys;
    if constexpr (kKeys == 2) {
      hn::StoreU(hn::LowerHalf(two, quad), two, row);
      if (full) hn::StoreU(hn::UpperHalf(two, quad), two, row + kTileSlots);
    } else {
      hn::StoreU(quad, four, row);
    }
  }
#endif
}

/// sums[i] += vectors[i] * factor.
template <int kCount>
HWY_INLINE void add_products(const FloatVector (&vectors)[kCount], FloatVector factor, FloatVector* sums) {
  keep_in_register(factor);
  HASHEVICT_UNROLL
  for (int i = 0; i < kCount; ++i) sums[i] = hwy::HWY_NAMESPACE::MulAdd(vectors[i], factor, sums[i]);
}

/// sums[query * kKeys + key] += <query, key> over one pair of vectors from `at` on.
template <class Loader, int kQueries, int kKeys>
HWY_INLINE void add_dots(const typename Loader::Element* const (&key)[kKeys], int at, const float* query,
                         FloatVector* sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector first[kKeys], second[kKeys];
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) Loader::pair(key[k] + at, first[k], second[k]);
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) add_products<kKeys>(first, hn::Load(d, query + q * kLanes), &sums[q * kKeys]);
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    add_products<kKeys>(second, hn::Load(d, query + (kQueries + q) * kLanes), &sums[q * kKeys]);
  }
}

/// logits[query][j] = <query, key j> for j < count and, because offsets repeat the last one up to a multiple of 8, some
/// more. Dimensions lie in lanes: kKeys keys by kQueries queries share their loads, then one reduction serves four
/// sums. Each step over a line of the keys fetches the same line of the slots' values.
template <class Loader, int kQueries>
HWY_NOINLINE void dot_tile(const typename Loader::Element* keys, const typename Loader::Element* values,
                           const int64_t* offsets, int count, const float* queries, int head_dim, float* logits) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kKeys = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  constexpr int kPair = 2 * kLanes;
  constexpr int kLine = kLineElements<typename Loader::Element>;
  for (int j = 0; j < count; j += kKeys) {
    const typename Loader::Element *key[kKeys], *value[kKeys];
    FloatVector sums[kQueries * kKeys];
    HASHEVICT_UNROLL
    for (int k = 0; k < kKeys; ++k) {
      key[k] = keys + offsets[j + k];
      value[k] = values + offsets[j + k];
    }
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hn::Zero(d);
    const float* query = queries;
    int dim = 0;
    for (; dim + kLine <= head_dim; dim += kLine) {
      HASHEVICT_UNROLL
      for (int k = 0; k < kKeys; ++k) hwy::Prefetch(value[k] + dim);
      HASHEVICT_UNROLL_TWICE
      for (int at = 0; at < kLine; at += kPair, query += kPair * kQueries) {
        add_dots<Loader, kQueries, kKeys>(key, dim + at, query, sums);
      }
    }
    for (; dim + kPair <= head_dim; dim += kPair, query += kPair * kQueries) {
      HASHEVICT_UNROLL
      for (int k = 0; k < kKeys; ++k) hwy::Prefetch(value[k] + dim);
      add_dots<Loader, kQueries, kKeys>(key, dim, query, sums);
    }
    if (dim < head_dim) {
      HASHEVICT_UNROLL
      for (int i = 0; i < kQueries * kKeys; ++i) {
        sums[i] = hn::MulAdd(Loader::single(key[i % kKeys] + dim), hn::Load(d, query + i / kKeys * kLanes), sums[i]);
      }
    }
    store_dots<kQueries, kKeys>(sums, logits + j);
  }
}

/// What the weighted sum of one tile's values works on.
template <class Loader>
struct WeightedValues {
  const typename Loader::Element* values;
  const int64_t* offsets;  ///< [count] of the visible slots
  int count;
  const float* weights;  ///< [queries, kTileSlots]
  const float* rescale;  ///< [queries]
  float* accumulators;   ///< [queries, row_floats]
  int row_floats;
  NextKeys<typename Loader::Element> next;
};

/// sums += weight * value of one slot, for kVectors vectors of dimensions: pairs, or the single vector at the end.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE void add_value(const typename Loader::Element* value, const float* weights, FloatVector* sums) {
  namespace hn = hwy::HWY_NAMESPACE;
  FloatVector elements[kVectors];
  if constexpr (kVectors == 1) {
    elements[0] = Loader::single(value);
  } else {
    HASHEVICT_UNROLL
    for (int v = 0; v < kVectors; v += 2) Loader::pair(value + v * kLanes, elements[v], elements[v + 1]);
  }
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    add_products<kVectors>(elements, hn::Set(Floats(), weights[q * kTileSlots]), &sums[q * kVectors]);
  }
}

/// accumulator = accumulator * rescale + sum over the tile of weight * value, for kVectors vectors of dimensions from
/// `dim` on. The tile's sum starts from zero: chains of roundings stay short. Fetches as many bytes of the next keys as
/// it reads of the values.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE void accumulate_strip(const WeightedValues<Loader>& tile, int dim) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sums[kQueries * kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) sums[i] = hn::Zero(d);
  constexpr int kStrip = kVectors * kLanes;
  constexpr int kLine = kLineElements<typename Loader::Element>;
  constexpr int kStep = HWY_MAX(kLine / kStrip, 2);
  const typename Loader::Element* const values = tile.values + dim;
  const int64_t* const offsets = tile.offsets;
  const float* const weights = tile.weights;
  const int count = tile.count;
  const typename Loader::Element* ahead =
      tile.next.base + tile.next.offsets[0] + (tile.next.dense ? dim * kTileSlots : 0);
  const int step = tile.next.dense ? kLine : 0;
  int j = 0;
  for (; j + kStep <= count; j += kStep) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kStep * kStrip / kLine; ++line) {
      hwy::Prefetch(ahead);
      ahead += step;
    }
    HASHEVICT_UNROLL_TWICE
    for (int i = j; i < j + kStep; ++i) {
      add_value<Loader, kQueries, kVectors>(values + offsets[i], weights + i, sums);
    }
  }
  for (; j < count; ++j) add_value<Loader, kQueries, kVectors>(values + offsets[j], weights + j, sums);
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    float* const at = tile.accumulators + i / kVectors * tile.row_floats + dim + i % kVectors * kLanes;
    const auto rescale = hn::Set(d, tile.rescale[i / kVectors]);
    hn::Store(hn::MulAdd(hn::Load(d, at), rescale, sums[i]), d, at);
  }
}

/// accumulate_strip() for as many strips of kVectors vectors as fit between `dim` and `head_dim`.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE int accumulate_strips(const WeightedValues<Loader>& tile, int dim, int head_dim) {
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    if (!tile.next.dense) {
      const int end = kTileSlots * (dim + kVectors * kLanes) / head_dim;
      for (int j = kTileSlots * dim / head_dim; j < end; ++j)
        prefetch_row(tile.next.base + tile.next.offsets[j], head_dim);
    }
    accumulate_strip<Loader, kQueries, kVectors>(tile, dim);
  }
  return dim;
}

/// The weighted sum over all dimensions, as many vectors at a time as registers hold.
template <class Loader, int kQueries>
HWY_NOINLINE void accumulate_tile(const WeightedValues<Loader>& tile, int head_dim) {
  constexpr int kVectors = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  int dim = accumulate_strips<Loader, kQueries, kVectors>(tile, 0, head_dim);
  if constexpr (kVectors > 2) dim = accumulate_strips<Loader, kQueries, 2>(tile, dim, head_dim);
  accumulate_strips<Loader, kQueries, 1>(tile, dim, head_dim);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
