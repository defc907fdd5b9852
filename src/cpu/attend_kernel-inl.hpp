// SPDX-License-Identifier: Apache-2.0
// The two inner loops of attention, compiled once per instruction set: no include guard but Highway's.
//
// Both keep the accumulators of up to kKernelQueries queries in registers, so that each key and value is loaded and
// widened once for all of them. A query's arithmetic is the same, in the same order, in every instance: which queries
// share registers never shows in a result.
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

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

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

template <int kKeys>
HWY_INLINE void add_products(const FloatVector (&keys)[kKeys], FloatVector query, FloatVector* sums) {
  HASHEVICT_UNROLL
  for (int k = 0; k < kKeys; ++k) sums[k] = hwy::HWY_NAMESPACE::MulAdd(keys[k], query, sums[k]);
}

/// logits[query][j] = <query, key j> for j < count and, because offsets repeat the last one up to a multiple of 8, some
/// more. Dimensions lie in lanes: kKeys keys by kQueries queries share their loads, then one reduction serves four
/// sums.
template <class Loader, int kQueries>
HWY_NOINLINE void dot_tile(const typename Loader::Element* keys, const int64_t* offsets, int count,
                           const float* queries, int head_dim, float* logits) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kKeys = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  const int pairs = head_dim / (2 * kLanes);
  for (int j = 0; j < count; j += kKeys) {
    const typename Loader::Element* key[kKeys];
    FloatVector sums[kQueries * kKeys];
    HASHEVICT_UNROLL
    for (int k = 0; k < kKeys; ++k) key[k] = keys + offsets[j + k];
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hn::Zero(d);
    const float* query = queries;
    for (int pair = 0; pair < pairs; ++pair, query += 2 * kLanes * kQueries) {
      FloatVector first[kKeys], second[kKeys];
      HASHEVICT_UNROLL
      for (int k = 0; k < kKeys; ++k) Loader::pair(key[k] + pair * 2 * kLanes, first[k], second[k]);
      HASHEVICT_UNROLL
      for (int q = 0; q < kQueries; ++q) add_products<kKeys>(first, hn::Load(d, query + q * kLanes), &sums[q * kKeys]);
      HASHEVICT_UNROLL
      for (int q = 0; q < kQueries; ++q) {
        add_products<kKeys>(second, hn::Load(d, query + (kQueries + q) * kLanes), &sums[q * kKeys]);
      }
    }
    if (head_dim % (2 * kLanes) != 0) {
      HASHEVICT_UNROLL
      for (int i = 0; i < kQueries * kKeys; ++i) {
        sums[i] = hn::MulAdd(Loader::single(key[i % kKeys] + pairs * 2 * kLanes),
                             hn::Load(d, query + i / kKeys * kLanes), sums[i]);
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
  float* sums;           ///< [queries, row_floats]
  int row_floats;
};

/// sums += weight * value over kSlots slots, for kVectors vectors of dimensions from `dim` on: pairs, or the single
/// vector at the end.
template <class Loader, int kQueries, int kSlots, int kVectors>
HWY_INLINE void add_strip(const typename Loader::Element* const (&value)[kSlots], const float* weights, int dim,
                          float* sums, int row_floats) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  FloatVector sum[kQueries * kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    sum[i] = hn::Load(d, sums + i / kVectors * row_floats + dim + i % kVectors * kLanes);
  }
  HASHEVICT_UNROLL
  for (int j = 0; j < kSlots; ++j) {
    FloatVector elements[kVectors];
    if constexpr (kVectors == 1) {
      elements[0] = Loader::single(value[j] + dim);
    } else {
      HASHEVICT_UNROLL
      for (int v = 0; v < kVectors; v += 2) Loader::pair(value[j] + dim + v * kLanes, elements[v], elements[v + 1]);
    }
    HASHEVICT_UNROLL
    for (int q = 0; q < kQueries; ++q) {
      add_products<kVectors>(elements, hn::Set(d, weights[q * kTileSlots + j]), &sum[q * kVectors]);
    }
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    hn::Store(sum[i], d, sums + i / kVectors * row_floats + dim + i % kVectors * kLanes);
  }
}

/// add_strip() over all dimensions of kSlots slots from `first` on, as many vectors at a time as registers hold.
template <class Loader, int kQueries, int kSlots>
HWY_INLINE void add_slots(const WeightedValues<Loader>& tile, int first, int head_dim) {
  constexpr int kVectors = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  const typename Loader::Element* value[kSlots];
  HASHEVICT_UNROLL
  for (int j = 0; j < kSlots; ++j) value[j] = tile.values + tile.offsets[first + j];
  const float* const weights = tile.weights + first;
  int dim = 0;
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    add_strip<Loader, kQueries, kSlots, kVectors>(value, weights, dim, tile.sums, tile.row_floats);
  }
  if constexpr (kVectors == 8) {
    if (dim + 4 * kLanes <= head_dim) {
      add_strip<Loader, kQueries, kSlots, 4>(value, weights, dim, tile.sums, tile.row_floats);
      dim += 4 * kLanes;
    }
  }
  if constexpr (kVectors >= 4) {
    if (dim + 2 * kLanes <= head_dim) {
      add_strip<Loader, kQueries, kSlots, 2>(value, weights, dim, tile.sums, tile.row_floats);
      dim += 2 * kLanes;
    }
  }
  if (dim < head_dim) add_strip<Loader, kQueries, kSlots, 1>(value, weights, dim, tile.sums, tile.row_floats);
}

/// sums += weight * value over all slots of a tile. A few slots at a time, all dimensions, so that memory is read in
/// order and the processor's own prefetching keeps up.
template <class Loader, int kQueries>
HWY_NOINLINE void add_values(const WeightedValues<Loader>& tile, int head_dim) {
  constexpr int kSlots = 8;
  int first = 0;
  for (; first + kSlots <= tile.count; first += kSlots) add_slots<Loader, kQueries, kSlots>(tile, first, head_dim);
  for (; first < tile.count; ++first) add_slots<Loader, kQueries, 1>(tile, first, head_dim);
}

/// accumulators = accumulators * rescale + sums; the sums of the next tile start from zero.
HWY_INLINE void fold_sums(float* accumulators, float rescale, float* sums, int row_floats) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  for (int i = 0; i < row_floats; i += kLanes) {
    hn::Store(hn::MulAdd(hn::Load(d, accumulators + i), hn::Set(d, rescale), hn::Load(d, sums + i)), d,
              accumulators + i);
    hn::Store(hn::Zero(d), d, sums + i);
  }
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
