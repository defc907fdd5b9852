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

/// The rows of a tile, to fetch into the cache on the way through other rows. If dense, a line at a time between the
/// products, in ascending order: in bursts the lines wait for each other, and other orders stop the processor's own
/// prefetcher from running ahead. Otherwise in bursts, row by row.
template <class Element>
struct RowsAhead {
  const Element* base;
  const int64_t* offsets;  ///< [kTileSlots]
  bool dense;              ///< one behind the other
};

/// Fetches the lines of dense rows, one at a call.
template <class Element>
class LinesAhead {
 public:
  HWY_INLINE LinesAhead(const RowsAhead<Element>& rows, int first_element)
      : at_(rows.base + rows.offsets[0] + (rows.dense ? first_element : 0)),
        step_(rows.dense ? kLineElements<Element> : 0) {}

  HWY_INLINE void fetch() {
    hwy::Prefetch(at_);
    at_ += step_;
  }

 private:
  const Element* at_;
  int step_;
};

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
  const typename Loader::Element* key[kKeys];
  FloatVector sums[kQueries * kKeys];
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) key[k] = keys + offsets[k];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hn::Zero(d);
  int dim = 0;
  for (; dim + kLine <= head_dim; dim += kLine) {
    HASHEVICT_UNROLL
    for (int k = 0; k < kKeys; ++k) ahead.fetch();
    HASHEVICT_UNROLL_TWICE
    for (int at = 0; at < kLine; at += kPair, query += kPair * kQueries) {
      add_dots<Loader, kQueries, kKeys>(key, dim + at, query, sums);
    }
  }
  for (; dim + kPair <= head_dim; dim += kPair, query += kPair * kQueries) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kKeys * kPair / kLine; ++line) ahead.fetch();
    add_dots<Loader, kQueries, kKeys>(key, dim, query, sums);
  }
  if (dim < head_dim) {
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) {
      add_product(Loader::single(key[i / kQueries] + dim), hn::Load(d, query + i % kQueries * kLanes), sums[i]);
    }
  }
  store_dots(sums, dots);
}

/// dots[j * kQueries + query] = <query, key j> for j < count and, because offsets repeat the last one up to a multiple
/// of 8, some more. Fetches the tile's values.
template <class Loader, int kQueries>
HWY_NOINLINE void dot_tile(const typename Loader::Element* keys, const RowsAhead<typename Loader::Element>& values,
                           int count, const float* queries, int head_dim, float* dots) {
  constexpr int kKeys = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 3;  // as many as registers hold
  constexpr int kRest = kQueries == 4 ? 2 : kKeys;
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
  RowsAhead<typename Loader::Element> next_keys;
};

/// sums += weight * value of one slot, for kVectors vectors of dimensions: pairs, or the single vector at the end.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE void add_value(const typename Loader::Element* value, const float* weights, FloatVector* sums) {
  FloatVector elements[kVectors];
  if constexpr (kVectors == 1) {
    elements[0] = Loader::single(value);
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
  LinesAhead<typename Loader::Element> ahead(tile.next_keys, dim * kTileSlots);
  int j = 0;
  for (; j + kStep <= count; j += kStep) {
    HASHEVICT_UNROLL
    for (int line = 0; line < kStep * kStrip / kLine; ++line) ahead.fetch();
    HASHEVICT_UNROLL
    for (int i = 0; i < kStep; ++i) {
      add_value<Loader, kQueries, kVectors>(values + offsets[j + i], weights + (j + i) * kQueries, sums);
    }
  }
  for (; j < count; ++j) {
    add_value<Loader, kQueries, kVectors>(values + offsets[j], weights + j * kQueries, sums);
  }
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
  const RowsAhead<typename Loader::Element>& next = tile.next_keys;
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    const int end = next.dense ? 0 : kTileSlots * (dim + kVectors * kLanes) / head_dim;
    for (int j = kTileSlots * dim / head_dim; j < end; ++j) prefetch_row(next.base + next.offsets[j], head_dim);
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
