// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_kernel.hpp"

#include "cpu/attend_scratch.hpp"
#include "cpu/highway_targets.hpp"
#include "cpu/processor.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attend_kernel.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/attend_bfloat-inl.hpp"
#include "cpu/attend_queries-inl.hpp"
#include "cpu/attend_set-inl.hpp"

// Offsets within one pass are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {

/// Up to kPassQueries queries, from `first_query` on, that share one pass over the slots of a split.
struct Pass {
  int32_t first_query;
  int num_queries;
  int num_sets;
  QuerySet sets[kPassSets];
};

Pass make_pass(const AttendSplit& split, const AttendScratch& scratch, int32_t first_query) {
  Pass pass{.first_query = first_query,
            .num_queries = static_cast<int>(HWY_MIN(split.num_queries - first_query, kPassQueries)),
            .num_sets = 0,
            .sets = {}};
  for (int query = 0; query < pass.num_queries; query += pass.sets[pass.num_sets++].count) {
    pass.sets[pass.num_sets] = scratch.set(query, set_size(pass.num_queries - query, kWidestKernel));
  }
  return pass;
}

/// Adds one tile to all queries of the pass. It scores all sets first, so that the tile's keys are read in one go and
/// its values in another.
template <class Loader, class Dots>
void attend_tile(const AttendSplit& split, const Pass& pass, const Tile& tile, const Tile& next) {
  VisibleSlots visible;
  find_visible(split, tile, pass.first_query, pass.num_queries, visible);
  if (visible.any == 0) return;
  const int row_bytes = split.format.row_bytes();
  const bool second_level = processor().fetches_to_second_level;
  const RowsAhead values{static_cast<const unsigned char*>(split.values), tile.offsets, row_bytes, tile.dense,
                         second_level};
  const RowsAhead next_keys{static_cast<const unsigned char*>(split.keys), next.offsets, row_bytes, next.dense,
                            second_level};
  for (int i = 0; i < pass.num_sets; ++i) {
    const QuerySet& set = pass.sets[i];
    score_set<Dots>(split, tile, set, values);
    weigh_set(split, set, visible.of + set.first, next_keys);
  }
  for (int i = 0; i < pass.num_sets; ++i) {
    const QuerySet& set = pass.sets[i];
    accumulate_set<Loader>(split, tile, set, visible.of + set.first, next_keys);
  }
}

template <class Loader, class Dots>
void attend_pass(const AttendSplit& split, const Pass& pass) {
  for (int i = 0; i < pass.num_sets; ++i) {
    Dots::pack(split, pass.first_query, pass.sets[i]);
    clear_sums(pass.sets[i]);
  }
  Tile tiles[2];  // the current tile and the next one, whose keys are fetched meanwhile
  tiles[0].locate(split, split.first_slot);
  for (int current = 0; tiles[current].count > 0; current ^= 1) {
    const Tile& tile = tiles[current];
    Tile& next = tiles[current ^ 1];
    next.locate(split, tile.first + tile.count);
    attend_tile<Loader, Dots>(split, pass, tile, next.count > 0 ? next : tile);
  }
  for (int i = 0; i < pass.num_sets; ++i) write_partial<Loader>(pass.sets[i], pass.first_query, split);
}

template <class Loader, class Dots = WidenedDots<Loader>>
void attend_as(const AttendSplit& split, float* memory) {
  const AttendScratch scratch(memory, split.format.head_dim);
  for (int32_t first = 0; first < split.num_queries; first += kPassQueries) {
    attend_pass<Loader, Dots>(split, make_pass(split, scratch, first));
  }
}

void attend(const AttendSplit& split, float* memory) {
  switch (split.format.dtype) {
    case core::DType::float16:
      return attend_as<HalfLoader>(split, memory);
    case core::DType::bfloat16:
#if HASHEVICT_BFLOAT_PRODUCTS
      if (split.multiply_bfloat && processor().multiplies_bfloat) {
        return attend_as<BfloatLoader, BfloatDots>(split, memory);
      }
#endif
      return attend_as<BfloatLoader>(split, memory);
    default:
      return attend_as<FloatLoader>(split, memory);
  }
}

bool has_bfloat_products() {
  return HASHEVICT_BFLOAT_PRODUCTS && processor().multiplies_bfloat;
}

}  // namespace
}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(attend);
HWY_EXPORT(has_bfloat_products);

}  // namespace

int64_t scratch_floats(int32_t num_queries, int32_t head_dim) {
  return AttendScratch::floats(num_queries, head_dim);
}

bool multiplies_bfloat() {
  return HWY_DYNAMIC_DISPATCH(has_bfloat_products)();
}

void attend_split(const AttendSplit& split, float* scratch) {
  HWY_DYNAMIC_DISPATCH(attend)(split, scratch);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
