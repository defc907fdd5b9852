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

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Fetches rows that will be needed next into the cache, a few at a time between other work.
class RowPrefetch {
 public:
  RowPrefetch() = default;
  RowPrefetch(const void* base, const int64_t* offsets, int rows, int64_t element_bytes, int64_t row_bytes)
      : base_(static_cast<const char*>(base)),
        offsets_(offsets),
        rows_(rows),
        element_bytes_(element_bytes),
        row_bytes_(row_bytes) {}

  HWY_INLINE void next(int rows) {
    for (; rows > 0 && rows_ > 0; --rows, --rows_, ++offsets_) {
      const char* row = base_ + *offsets_ * element_bytes_;
      for (int64_t byte = 0; byte < row_bytes_; byte += kLineBytes) hwy::Prefetch(row + byte);
    }
  }

 private:
  static constexpr int64_t kLineBytes = 64;
  const char* base_ = nullptr;
  const int64_t* offsets_ = nullptr;
  int rows_ = 0;
  int64_t element_bytes_ = 0;
  int64_t row_bytes_ = 0;
};

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

/// logits[query][j] = <query, key j> for j < count and, because offsets repeat the last one up to a multiple of 8, some
/// more. Dimensions lie in lanes: kKeys keys by kQueries queries share their loads, then one reduction serves four
/// sums.
template <class Loader, int kQueries>
HWY_NOINLINE void dot_tile(const typename Loader::Element* keys, const int64_t* offsets, int count,
                           const float* queries, int head_dim, float* logits, RowPrefetch& prefetch) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kKeys = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  const int pairs = head_dim / (2 * kLanes);
  for (int j = 0; j < count; j += kKeys) {
    prefetch.next(kKeys);
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
      for (int i = 0; i < kQueries * kKeys; ++i) {
        sums[i] = hn::MulAdd(first[i % kKeys], hn::Load(d, query + i / kKeys * kLanes), sums[i]);
      }
      HASHEVICT_UNROLL
      for (int i = 0; i < kQueries * kKeys; ++i) {
        sums[i] = hn::MulAdd(second[i % kKeys], hn::Load(d, query + (kQueries + i / kKeys) * kLanes), sums[i]);
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
  const float* rescale;  ///< [queries]
  float* accumulators;   ///< [queries, row_floats]
  int row_floats;
};

/// accumulator = accumulator * rescale + sum over the tile of weight * value, for kVectors vectors of dimensions from
/// `dim` on: pairs, or the single vector at the end. The tile's sum starts from zero: chains of roundings stay short.
template <class Loader, int kQueries, int kVectors>
HWY_INLINE void accumulate_strip(const WeightedValues<Loader>& tile, int dim, RowPrefetch& prefetch,
                                 int rows_per_step) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Floats d;
  constexpr int kSlotsPerStep = 8;
  FloatVector sums[kQueries * kVectors];
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) sums[i] = hn::Zero(d);
  const typename Loader::Element* const values = tile.values + dim;
  for (int step = 0; step < tile.count; step += kSlotsPerStep) {
    prefetch.next(rows_per_step);
    const int end = HWY_MIN(step + kSlotsPerStep, tile.count);
    for (int j = step; j < end; ++j) {
      const typename Loader::Element* value = values + tile.offsets[j];
      FloatVector elements[kVectors];
      if constexpr (kVectors == 1) {
        elements[0] = Loader::single(value);
      } else {
        HASHEVICT_UNROLL
        for (int v = 0; v < kVectors; v += 2) Loader::pair(value + v * kLanes, elements[v], elements[v + 1]);
      }
      HASHEVICT_UNROLL
      for (int q = 0; q < kQueries; ++q) {
        const auto weight = hn::Set(d, tile.weights[q * kTileSlots + j]);
        HASHEVICT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sums[q * kVectors + v] = hn::MulAdd(weight, elements[v], sums[q * kVectors + v]);
        }
      }
    }
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kQueries * kVectors; ++i) {
    float* const at = tile.accumulators + i / kVectors * tile.row_floats + dim + i % kVectors * kLanes;
    const auto rescale = hn::Set(d, tile.rescale[i / kVectors]);
    hn::Store(hn::MulAdd(hn::Load(d, at), rescale, sums[i]), d, at);
  }
}

/// accumulate_strip() over all dimensions, as many vectors at a time as registers hold.
template <class Loader, int kQueries>
HWY_NOINLINE void accumulate_tile(const WeightedValues<Loader>& tile, int head_dim, RowPrefetch& prefetch) {
  constexpr int kVectors = kQueries == 1 ? 8 : kQueries == 2 ? 4 : 2;
  const int strips = HWY_MAX(head_dim / (kVectors * kLanes), 1);
  const int rows_per_step = (8 + strips - 1) / strips;
  int dim = 0;
  for (; dim + kVectors * kLanes <= head_dim; dim += kVectors * kLanes) {
    accumulate_strip<Loader, kQueries, kVectors>(tile, dim, prefetch, rows_per_step);
  }
  if constexpr (kVectors == 8) {
    if (dim + 4 * kLanes <= head_dim) {
      accumulate_strip<Loader, kQueries, 4>(tile, dim, prefetch, rows_per_step);
      dim += 4 * kLanes;
    }
  }
  if constexpr (kVectors >= 4) {
    if (dim + 2 * kLanes <= head_dim) {
      accumulate_strip<Loader, kQueries, 2>(tile, dim, prefetch, rows_per_step);
      dim += 2 * kLanes;
    }
  }
  if (dim < head_dim) accumulate_strip<Loader, kQueries, 1>(tile, dim, prefetch, rows_per_step);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
