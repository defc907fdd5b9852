// SPDX-License-Identifier: Apache-2.0
// The two inner loops of attention, compiled once per instruction set: no include guard but Highway's.
//
// Both keep the accumulators of up to kKernelQueries queries in registers, so that each key and value is loaded and
// widened once for all of them. A query's arithmetic is the same, in the same order, in every instance: which queries
// share registers never shows in a result.
#include <hwy/highway.h>

#include "cpu/attend_scratch.hpp"
#include "cpu/kv_loader-inl.hpp"
#include "cpu/rows_ahead-inl.hpp"
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

/// sum += a * b. Left to itself, GCC loads a factor again for every use and ends in the register of the other factor;
/// then loads limit the loops and the sums run out of registers.
HWY_INLINE void add_product(FloatVector a, FloatVector b, FloatVector& sum) {
#if HWY_COMPILER_GCC && !HWY_COMPILER_CLANG && HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_BMI2_FMA)
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
  sum = hwy::HWY_NAMESPACE::MulAdd(a, b, sum);
#endif
}

#if HWY_TARGET != HWY_SCALAR
/// The 128-bit parts of a vector added up: four lanes.
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

/// Stores the sums of the lanes of each of `sums`.
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

/// sums[i * kStride] += vectors[i] * factor.
template <int kStride, int kCount>
HWY_INLINE void add_products(const FloatVector (&vectors)[kCount], FloatVector factor, FloatVector* sums) {
  HASHEVICT_UNROLL
  for (int i = 0; i < kCount; ++i) add_product(vectors[i], factor, sums[i * kStride]);
}

/// sums[key * kQueries + query] += <query, key> over one pair of vectors from `at` on.
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

/// dots[key * kQueries + query] = <query, key> of kKeys keys. Dimensions lie in lanes: the keys and queries share their
/// loads, then one reduction serves four sums. Fetches as many bytes as it reads.
template <class Loader, int kQueries, int kKeys>
HWY_INLINE void dot_keys(const typename Loader::Element* keys, const int64_t* offsets, const float* query, int head_dim,
                         float* dots, LinesAhead<typename Loader::Element>& ahead) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kPair = 2 * kLanes;
  constexpr int kLine = kLineElements<typename Loader::Element>;
  constexpr int kChunk = HWY_MAX(kLine, kPair);
  const typename Loader::Element* key[kKeys];
  FloatVector sums[kQueries * kKeys];
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) key[k] = keys + offsets[k];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hn::Zero(d);
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
  if (dim + kLanes <= head_dim) {
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) {
      add_product(load_vector<Loader>(key[i / kQueries] + dim), hn::Load(d, query + i % kQueries * kLanes), sums[i]);
    }
    dim += kLanes;
    query += kQueries * kLanes;
  }
  if constexpr (kLanes > kHeadDimStep) {
    if (dim < head_dim) {
      HASHEVICT_UNROLL
      for (int i = 0; i < kQueries * kKeys; ++i) {
        add_product(load_rest<Loader>(key[i / kQueries] + dim), hn::Load(d, query + i % kQueries * kLanes), sums[i]);
      }
    }
  }
  store_dots(sums, dots);
}

/// Twice as many vector registers as SSE and AVX2 have: sums of 16 products beside each other instead of 8, or 12.
constexpr bool kManyRegisters = kLanes == 16;
/// Keys, or vectors of values, that kQueries queries are multiplied with at a time: as many as registers hold sums.
template <int kQueries>
constexpr int kFactors = kManyRegisters ? 8 / HWY_MAX(kQueries / 2, 1) : 8 / kQueries;

/// dots[j * kQueries + query] = <query, key j> for j < count and, because offsets repeat the last one to the tile's
/// end, some more. Fetches the tile's values.
template <class Loader, int kQueries>
HWY_NOINLINE void dot_tile(const typename Loader::Element* keys, const RowsAhead<typename Loader::Element>& values,
                           int count, const float* queries, int head_dim, float* dots) {
  constexpr int kKeys = !kManyRegisters && kQueries == 4 ? 3 : kFactors<kQueries>;
  constexpr int kRest = kKeys == 3 ? 2 : kKeys;
  static_assert(kTileSlots % kKeys == 0 || kTileSlots % kKeys == kRest, "no key is read beyond the offsets");
  const int64_t* const offsets = values.offsets;
  LinesAhead<typename Loader::Element> ahead(values, 0);
  int j = 0;
  for (; j + kKeys <= count; j += kKeys) {
    if (!values.dense) {
      for (int k = 0; k < kKeys; ++k) prefetch_row(values.base + offsets[j + k], head_dim);
    }
    dot_keys<Loader, kQueries, kKeys>(keys, offsets + j, queries, head_dim, dots + j * kQueries, ahead);
  }
  if (j < count) {
    dot_keys<Loader, kQueries, kRest>(keys, offsets + j, queries, head_dim, dots + j * kQueries, ahead);
  }
}

/// What the weighted sum of one tile's values works on.
template <class Loader>
struct WeightedValues {
  const typename Loader::Element* values;
  const int64_t* offsets;  ///< [count] of the visible slots
  int count;
  const float* weights;  ///< [count, kQueries]
  const float* rescale;  ///< [kQueries]
  float* accumulators;   ///< [kQueries, row_floats]
  int row_floats;
  int head_dim;
  RowsAhead<typename Loader::Element> next_keys;
};

/// sums += weight * value of one slot, for kVectors vectors of dimensions: pairs, or the one behind the last pair, or
/// if kRest what load_rest() loads.
template <class Loader, int kQueries, int kVectors, bool kRest>
HWY_INLINE void add_value(const typename Loader::Element* value, const float* weights, FloatVector* sums) {
  FloatVector elements[kVectors];
  if constexpr (kRest) {
    elements[0] = load_rest<Loader>(value);
  } else if constexpr (kVectors == 1) {
    elements[0] = load_vector<Loader>(value);
  } else {
    HASHEVICT_UNROLL
    for (int v = 0; v < kVectors; v += 2) {
      elements[v] = Loader::first(value + v * kLanes);
      elements[v + 1] = Loader::second(value + v * kLanes);
    }
  }
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    add_products<1>(elements, hwy::HWY_NAMESPACE::Set(Floats(), weights[q]), &sums[q * kVectors]);
  }
}

/// accumulator = accumulator * rescale + sum over the tile of weight * value, for kVectors vectors of dimensions from
/// `dim` on. The tile's sum starts from zero: chains of roundings stay short. Fetches the next keys as it goes.
template <class Loader, int kQueries, int kVectors, bool kRest = false>
HWY_INLINE void accumulate_strip(const WeightedValues<Loader>& tile, int dim) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sums[kQueries * kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) sums[i] = hn::Zero(d);
  constexpr int kStrip = kVectors * kLanes;
  constexpr int kLine = kLineElements<typename Loader::Element>;
  constexpr int kFetched = 4 - kSoftmaxQuarters;  // of 4 lines
  constexpr int kStep = HWY_MAX((kFetched == 4 ? 1 : 4) * kLine / kStrip, 2);
  const typename Loader::Element* const values = tile.values + dim;
  const int64_t* const offsets = tile.offsets;
  const float* const weights = tile.weights;
  const int count = tile.count;
  auto ahead = weighted_sum_lines(tile.next_keys, tile.head_dim, dim);
  int j = 0;
  for (; j + kStep <= count; j += kStep) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kStep * kStrip / kLine * kFetched / 4; ++line) ahead.fetch();
    HASHEVICT_UNROLL
    for (int i = 0; i < kStep; ++i) {
      add_value<Loader, kQueries, kVectors, kRest>(values + offsets[j + i], weights + (j + i) * kQueries, sums);
    }
  }
  for (; j < count; ++j) {
    add_value<Loader, kQueries, kVectors, kRest>(values + offsets[j], weights + j * kQueries, sums);
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    float* const at = tile.accumulators + i / kVectors * tile.row_floats + dim + i % kVectors * kLanes;
    const auto rescale = hn::Set(d, tile.rescale[i / kVectors]);
    hn::Store(hn::MulAdd(hn::Load(d, at), rescale, sums[i]), d, at);
  }
}

/// accumulate_strip() for as many strips of kVectors vectors as fit between `dim` and head_dim.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE int accumulate_strips(const WeightedValues<Loader>& tile, int dim) {
  const RowsAhead<typename Loader::Element>& next = tile.next_keys;
  const int head_dim = tile.head_dim;
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    const int end = next.dense ? 0 : kTileSlots * (dim + kVectors * kLanes) / head_dim;
    for (int j = kTileSlots * dim / head_dim; j < end; ++j) prefetch_row(next.base + next.offsets[j], head_dim);
    accumulate_strip<Loader, kQueries, kVectors>(tile, dim);
  }
  return dim;
}

/// The weighted sum over all dimensions, as many vectors at a time as registers hold.
template <class Loader, int kQueries>
HWY_NOINLINE void accumulate_tile(const WeightedValues<Loader>& tile) {
  constexpr int kVectors = kFactors<kQueries>;
  int dim = accumulate_strips<Loader, kQueries, kVectors>(tile, 0);
  if constexpr (kVectors > 4) dim = accumulate_strips<Loader, kQueries, 4>(tile, dim);
  if constexpr (kVectors > 2) dim = accumulate_strips<Loader, kQueries, 2>(tile, dim);
  dim = accumulate_strips<Loader, kQueries, 1>(tile, dim);
  if constexpr (kLanes > kHeadDimStep) {
    if (dim < tile.head_dim) accumulate_strip<Loader, kQueries, 1, true>(tile, dim);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
