// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_kernel.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "cpu/attend_scratch.hpp"
#include "cpu/highway_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attend_kernel.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/attend_kernel-inl.hpp"
#include "cpu/attend_softmax-inl.hpp"
#include "cpu/exponential-inl.hpp"

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

/// Ones for slots 0 .. count - 1 of a tile; count >= 1.
constexpr uint64_t first_bits(int count) {
  return ~uint64_t{0} >> (64 - count);
}
static_assert(kTileSlots <= 64);

/// Up to kTileSlots slots and where they lie.
struct Tile {
  int32_t first = 0;
  int count = 0;
  bool dense = false;
  int64_t offsets[kTileSlots] = {};  ///< the last one repeated to the end

  void locate(const AttendSplit& split, int32_t first_slot) {
    first = first_slot;
    count = static_cast<int>(HWY_MIN(split.last_slot - first_slot, kTileSlots));
    dense = split.slots.slot_stride == split.head_dim && split.slots.run(first) >= count;
    for (int j = 0; j < count;) {
      const int run = HWY_MIN(split.slots.run(first + j), count - j);
      int64_t offset = split.slots(first + j);
      for (const int end = j + run; j < end; ++j, offset += split.slots.slot_stride) offsets[j] = offset;
    }
    for (int j = count; j < kTileSlots; ++j) offsets[j] = offsets[count - 1];
  }
};

/// One pass: up to kPassQueries queries, from `first_query` on, over all slots of a split.
template <class Loader>
class AttendPass {
 public:
  AttendPass(const AttendSplit& split, const AttendScratch& scratch, int32_t first_query)
      : split_(split),
        scratch_(scratch),
        first_query_(first_query),
        queries_(static_cast<int>(HWY_MIN(split.num_queries - first_query, kPassQueries))),
        rows_((queries_ + kKernelQueries - 1) / kKernelQueries * kKernelQueries),
        row_floats_(AttendScratch::row_floats(split.head_dim)) {}

  void run() {
    for (int q = 0; q < queries_; q += kKernelQueries) pack_queries(q);
    for (int i = 0; i < rows_ * row_floats_; ++i) scratch_.accumulators[i] = 0;
    for (int i = 0; i < AttendScratch::state_floats(rows_); ++i) {
      scratch_.maxima[i] = kNegativeInfinity;
      scratch_.sums[i] = 0;
      scratch_.rescale[i] = 1;
    }
    Tile tiles[2];
    if (split_.first_slot < split_.last_slot) tiles[0].locate(split_, split_.first_slot);
    for (int current = 0; tiles[current].count > 0; current ^= 1) {
      const int32_t end = tiles[current].first + tiles[current].count;
      Tile& next = tiles[current ^ 1];
      next.count = 0;
      if (end < split_.last_slot) next.locate(split_, end);
      attend_tile(tiles[current], next.count > 0 ? next : tiles[current]);
    }
    for (int q = 0; q < queries_; ++q) write_partial(q);
  }

 private:
  using Element = typename Loader::Element;

  /// Queries that share registers from `query` on.
  [[nodiscard]] int together(int query) const { return HWY_MIN(queries_ - query, kKernelQueries); }

  /// Queries that the kernel for `count` of them takes: the missing fourth of three is a query of zeros.
  static constexpr int kernel_queries(int count) { return count == 3 ? 4 : count; }

  /// Queries that share registers lie vector by vector side by side, elements in the loader's order, scaled.
  void pack_queries(int query) {
    const int count = kernel_queries(together(query));
    float* to = scratch_.queries + query * row_floats_;
    const float* const from = split_.queries + int64_t{first_query_ + query} * split_.head_dim;
    const auto element = [&](int q, int dim) {
      return query + q < queries_ ? from[q * split_.head_dim + dim] * split_.softmax_scale : 0;
    };
    int dim = 0;
    for (; dim + 2 * kLanes <= split_.head_dim; dim += 2 * kLanes) {
      for (int half = 0; half < 2; ++half) {
        for (int q = 0; q < count; ++q) {
          for (int lane = 0; lane < kLanes; ++lane) *to++ = element(q, dim + element_of<Loader>(half, lane));
        }
      }
    }
    for (; dim < split_.head_dim; dim += kLanes) {
      for (int q = 0; q < count; ++q) {
        for (int lane = 0; lane < kLanes; ++lane) *to++ = dim + lane < split_.head_dim ? element(q, dim + lane) : 0;
      }
    }
  }

  void attend_tile(const Tile& tile, const Tile& next) {
    uint64_t visible[kPassQueries];
    const uint64_t any = find_visible(tile, visible);
    if (any == 0) return;
    const RowsAhead<Element> next_keys{static_cast<const Element*>(split_.keys), next.offsets, next.dense};
    for (int q = 0; q < queries_; q += kKernelQueries) {
      score(tile, q);
      weigh(q, visible + q, next_keys);
    }
    for (int q = 0; q < queries_; q += kKernelQueries) accumulate(tile, next_keys, q, visible + q);
  }

  /// One bit per slot and query; returns all of them together.
  uint64_t find_visible(const Tile& tile, uint64_t* visible) const {
    const uint64_t all = first_bits(tile.count);
    if (split_.positions == nullptr || split_.query_positions == nullptr) {
      for (int q = 0; q < queries_; ++q) visible[q] = all;
      return all;
    }
    const int32_t* const positions = split_.positions + tile.first;
    int32_t oldest = positions[0], newest = positions[0];
    for (int j = 1; j < tile.count; ++j) {
      oldest = HWY_MIN(oldest, positions[j]);
      newest = HWY_MAX(newest, positions[j]);
    }
    uint64_t any = 0;
    for (int q = 0; q < queries_; ++q) {
      const int32_t query_position = split_.query_positions[first_query_ + q];
      visible[q] = newest <= query_position ? all : 0;
      if (newest > query_position && oldest <= query_position) {
        for (int j = 0; j < tile.count; ++j) visible[q] |= uint64_t{positions[j] <= query_position} << j;
      }
      any |= visible[q];
    }
    return any;
  }

  /// Calls `action` with the number of queries of a kernel as a constant.
  template <class Action>
  static void with_kernel(int count, const Action& action) {
    switch (kernel_queries(count)) {
      case 1:
        return action(std::integral_constant<int, 1>());
      case 2:
        return action(std::integral_constant<int, 2>());
      default:
        return action(std::integral_constant<int, 4>());
    }
  }

  [[nodiscard]] float* weights(int query) const { return scratch_.weights + query * kTileSlots; }

  [[nodiscard]] SoftmaxState state(int query) const {
    const auto at = AttendScratch::state_floats(query);
    return {scratch_.maxima + at, scratch_.sums + at, scratch_.rescale + at};
  }

  void score(const Tile& tile, int query) {
    const auto* const keys = static_cast<const Element*>(split_.keys);
    const RowsAhead<Element> values{static_cast<const Element*>(split_.values), tile.offsets, tile.dense};
    with_kernel(together(query), [&](auto kernel) {
      dot_tile<Loader, kernel()>(keys, values, tile.count, scratch_.queries + query * row_floats_, split_.head_dim,
                                 weights(query));
    });
  }

  /// Turns the dots of the queries that share registers into weights, 0 where not visible, up to the last slot that is.
  void weigh(int query, const uint64_t* visible, const RowsAhead<Element>& next_keys) {
    uint64_t any = 0, all = ~uint64_t{0};
    for (int q = 0; q < together(query); ++q) {
      any |= visible[q];
      all &= visible[q];
    }
    if (any == 0) return;
    const int slots = (static_cast<int>(std::bit_width(any)) + kLanes - 1) / kLanes * kLanes;
    with_kernel(together(query), [&](auto kernel) {
      if (split_.logit_soft_cap != 0) cap_logits(weights(query), slots * kernel());
      if (all != first_bits(slots)) hide<kernel()>(query, slots, visible);
      weigh_slots<kernel()>(weights(query), slots, state(query), next_keys, split_.head_dim);
    });
  }

  void cap_logits(float* logits, int count) const {
    const Floats d;
    const auto cap = hn::Set(d, split_.logit_soft_cap);
    for (int i = 0; i < count; i += kLanes) {
      hn::Store(hn::Mul(cap, tanh_of(d, hn::Div(hn::Load(d, logits + i), cap))), d, logits + i);
    }
  }

  /// Makes logits -infinity where not visible.
  template <int kQueries>
  void hide(int query, int slots, const uint64_t* visible) {
    float* const logits = weights(query);
    for (int q = 0; q < together(query); ++q) {
      for (uint64_t hidden = first_bits(slots) & ~visible[q]; hidden != 0; hidden &= hidden - 1) {
        logits[std::countr_zero(hidden) * kQueries + q] = kNegativeInfinity;
      }
    }
  }

  /// Adds the values of the visible slots up for the queries that share registers; one by one if they see different
  /// slots. Slots that are not visible are left out, not weighted 0: their values may be anything.
  void accumulate(const Tile& tile, const RowsAhead<Element>& next_keys, int query, const uint64_t* visible) {
    const int count = together(query);
    bool alike = true;
    for (int q = 1; q < count; ++q) alike = alike && visible[q] == visible[0];
    if (alike) return accumulate_alike(tile, next_keys, query, 0, count, visible[0]);
    for (int q = 0; q < count; ++q) accumulate_alike(tile, next_keys, query, q, 1, visible[q]);
  }

  /// Queries [from, from + count) of the kernel that begins at `query`: all of it, or one.
  void accumulate_alike(const Tile& tile, const RowsAhead<Element>& next_keys, int query, int from, int count,
                        uint64_t visible) {
    if (visible == 0) return;
    WeightedValues<Loader> weighted{static_cast<const Element*>(split_.values),
                                    tile.offsets,
                                    std::popcount(visible),
                                    weights(query),
                                    state(query).rescale + from,
                                    scratch_.accumulators + (query + from) * row_floats_,
                                    row_floats_,
                                    split_.head_dim,
                                    next_keys};
    int64_t offsets[kTileSlots];
    float packed[kTileSlots * kKernelQueries];
    const int stride = kernel_queries(together(query)), width = kernel_queries(count);
    if (width != stride || (visible & (visible + 1)) != 0) {  // other queries or gaps between: close up
      int to = 0;
      for (uint64_t rest = visible; rest != 0; rest &= rest - 1, ++to) {
        const int slot = std::countr_zero(rest);
        offsets[to] = tile.offsets[slot];
        for (int q = 0; q < width; ++q) packed[to * width + q] = weights(query)[slot * stride + from + q];
      }
      weighted.offsets = offsets;
      weighted.weights = packed;
    }
    with_kernel(count, [&](auto kernel) { accumulate_tile<Loader, kernel()>(weighted); });
  }

  /// Into the caller's layout, elements back in their order.
  void write_partial(int query) const {
    const int64_t index = first_query_ + query;
    const int64_t head_dim = split_.head_dim;
    const float* const from = scratch_.accumulators + query * row_floats_;
    float* const to = split_.partial + index * head_dim;
    int dim = 0;
    for (; dim + 2 * kLanes <= head_dim; dim += 2 * kLanes) {
      for (int i = 0; i < 2 * kLanes; ++i) to[dim + element_of<Loader>(i / kLanes, i % kLanes)] = from[dim + i];
    }
    for (; dim < head_dim; ++dim) to[dim] = from[dim];
    const int first = query / kKernelQueries * kKernelQueries;
    split_.partial[split_.num_queries * head_dim + index] = state(first).maxima[query - first];
    split_.partial[split_.num_queries * (head_dim + 1) + index] = state(first).sums[query - first];
  }

  const AttendSplit& split_;
  const AttendScratch& scratch_;
  int32_t first_query_;
  int queries_;
  int rows_;  ///< queries_ filled up to whole kernels
  int row_floats_;
};

template <class Loader>
void attend_as(const AttendSplit& split, const AttendScratch& scratch) {
  for (int32_t first = 0; first < split.num_queries; first += kPassQueries) {
    AttendPass<Loader>(split, scratch, first).run();
  }
}

void attend(const AttendSplit& split, float* memory) {
  const AttendScratch scratch(memory, split.num_queries, split.head_dim);
  switch (split.dtype) {
    case core::DType::float16:
      return attend_as<HalfLoader>(split, scratch);
    case core::DType::bfloat16:
      return attend_as<BfloatLoader>(split, scratch);
    default:
      return attend_as<FloatLoader>(split, scratch);
  }
}

/// Adds up the splits of one query.
void combine(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, int32_t query,
             float* out, float* lse) {
  const hn::CappedTag<float, kHeadDimStep> d;
  constexpr auto step = static_cast<int32_t>(hn::MaxLanes(d));
  const auto split = [&](int32_t s) {
    return PartialView{partials + s * partial_floats(num_queries, head_dim), num_queries, head_dim};
  };
  float maximum = kNegativeInfinity;
  for (int32_t s = 0; s < num_splits; ++s) maximum = HWY_MAX(split(s).maximum(query), maximum);
  const auto reference = hn::Set(d, maximum == kNegativeInfinity ? 0.0f : maximum);
  float sum = 0;
  for (int32_t i = 0; i < head_dim; ++i) out[i] = 0;
  for (int32_t s = 0; s < num_splits; ++s) {
    const PartialView partial = split(s);
    if (partial.sum(query) == 0) continue;
    const auto weight = exp_nonpositive(d, hn::Sub(hn::Set(d, partial.maximum(query)), reference));
    sum += partial.sum(query) * hn::GetLane(weight);
    const float* const accumulator = partial.accumulator(query);
    for (int32_t i = 0; i < head_dim; i += step) {
      hn::StoreU(hn::MulAdd(weight, hn::LoadU(d, accumulator + i), hn::LoadU(d, out + i)), d, out + i);
    }
  }
  if (lse != nullptr) *lse = sum == 0 ? kNegativeInfinity : maximum + std::log(sum);
  if (sum == 0) return;
  for (int32_t i = 0; i < head_dim; i += step) {
    hn::StoreU(hn::Div(hn::LoadU(d, out + i), hn::Set(d, sum)), d, out + i);
  }
}

void combine_all(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, float* out,
                 float* lse) {
  for (int32_t query = 0; query < num_queries; ++query) {
    combine(partials, num_splits, num_queries, head_dim, query, out + int64_t{query} * head_dim,
            lse == nullptr ? nullptr : lse + query);
  }
}

}  // namespace
}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(attend);
HWY_EXPORT(combine_all);

}  // namespace

int64_t scratch_floats(int32_t num_queries, int32_t head_dim) {
  return AttendScratch::floats(num_queries, head_dim);
}

void attend_split(const AttendSplit& split, float* scratch) {
  HWY_DYNAMIC_DISPATCH(attend)(split, scratch);
}

void combine_splits(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, float* out,
                    float* lse) {
  HWY_DYNAMIC_DISPATCH(combine_all)(partials, num_splits, num_queries, head_dim, out, lse);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
