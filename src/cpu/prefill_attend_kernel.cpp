// SPDX-License-Identifier: Apache-2.0
#include "cpu/prefill_attend_kernel.hpp"

#include <cmath>
#include <limits>

#include "cpu/highway_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/prefill_attend_kernel.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/attend_products-inl.hpp"
#include "cpu/exponential-inl.hpp"

// Offsets within one tile are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using Ints = hn::RebindToSigned<Floats>;
constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

/// Vectors of one panel: with kRows rows beside them, their sums fill the registers.
constexpr int kVectors = 3;
constexpr int kPanel = kVectors * kLanes;
/// Keys (or dimensions of values) multiplied with a panel at a time; every head_dim and kPromptKeys are multiples.
constexpr int kRows = kManyRegisters ? 8 : 4;
static_assert(kPromptQueryStep % kPanel == 0 && kPromptKeys % kRows == 0 && kHeadDimStep % kRows == 0);

/// One panel of a tile.
struct Panel {
  const float* queries;   ///< [head_dim, kPanel]
  float* sums;            ///< [head_dim, kPanel]
  float* maxima;          ///< [kPanel]
  float* weights;         ///< [kPanel]
  const int32_t* tokens;  ///< [kPanel], ascending
  float* logits;          ///< [kPromptKeys, kPanel]
};

Panel panel_of(const PromptTile& tile, int first_query) {
  const int first = first_query * tile.head_dim;
  return {.queries = tile.queries + first,
          .sums = tile.sums + first,
          .maxima = tile.maxima + first_query,
          .weights = tile.weights + first_query,
          .tokens = tile.tokens + first_query,
          .logits = tile.logits};
}

/// Keys [first, end) of a block, which contain all that some query of a panel sees.
struct Range {
  int first, end;
};

Range visible_range(const PromptBlock& block, const Panel& panel) {
  Range range{0, block.num_keys};
  if (block.births == nullptr) return range;
  const int32_t first_token = panel.tokens[0];
  const int32_t last_token = panel.tokens[kPanel - 1];
  const auto visible = [&](int key) { return block.births[key] <= last_token && block.deaths[key] > first_token; };
  while (range.first < range.end && !visible(range.first)) ++range.first;
  while (range.first < range.end && !visible(range.end - 1)) --range.end;
  return range;
}

/// logits[key] = <query, key> for kRows keys.
HWY_INLINE void dot_keys(const float* const* keys, const float* queries, int head_dim, float* logits) {
  const Floats d;
  FloatVector sums[kRows * kVectors];
  const float* key[kRows];
  HASHEVICT_UNROLL
  for (int k = 0; k < kRows; ++k) key[k] = keys[k];
  HASHEVICT_UNROLL
  for (FloatVector& sum : sums) sum = hn::Zero(d);
  for (int dim = 0; dim < head_dim; ++dim, queries += kPanel) {
    FloatVector query[kVectors];
    HASHEVICT_UNROLL
    for (int i = 0; i < kVectors; ++i) query[i] = hn::Load(d, queries + i * kLanes);
    HASHEVICT_UNROLL
    for (int k = 0; k < kRows; ++k) add_products<1>(query, hn::Set(d, key[k][dim]), &sums[k * kVectors]);
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i) hn::Store(sums[i], d, logits + i * kLanes);
}

/// Bends the logits: cap * tanh(logit / cap).
void cap_logits(float* logits, int count, float soft_cap) {
  const Floats d;
  const auto cap = hn::Set(d, soft_cap);
  for (int i = 0; i < count; i += kLanes) {
    hn::Store(hn::Mul(cap, tanh_of(d, hn::Div(hn::Load(d, logits + i), cap))), d, logits + i);
  }
}

/// Whether the queries of one vector of a panel see a key, as a mask of floats.
HWY_INLINE hn::Mask<Floats> sees(const PromptBlock& block, int key, const int32_t* tokens) {
  const Ints d;
  const auto token = hn::Load(d, tokens);
  const auto unborn = hn::Lt(token, hn::Set(d, block.births[key]));
  return hn::RebindMask(Floats(), hn::AndNot(unborn, hn::Lt(token, hn::Set(d, block.deaths[key]))));
}

/// Gives keys that a query does not see the logit -infinity.
void hide_keys(const PromptBlock& block, const Panel& panel, Range range) {
  const Floats d;
  for (int key = range.first; key < range.end; ++key) {
    if (block.births[key] <= panel.tokens[0] && block.deaths[key] > panel.tokens[kPanel - 1]) continue;
    for (int i = 0; i < kVectors; ++i) {
      float* const logits = panel.logits + key * kPanel + i * kLanes;
      const auto logit = hn::Load(d, logits);
      hn::Store(hn::IfThenElse(sees(block, key, panel.tokens + i * kLanes), logit, hn::Set(d, kNegativeInfinity)), d,
                logits);
    }
  }
}

/// Turns logits into weights exp(logit - maximum) and adds them to the panel's sums of weights.
/// @param rescale receives the factors of all earlier results
HWY_INLINE void weigh_keys(const Panel& panel, Range range, FloatVector (&rescale)[kVectors]) {
  const Floats d;
  for (int i = 0; i < kVectors; ++i) {
    float* const logits = panel.logits + i * kLanes;
    const auto before = hn::Load(d, panel.maxima + i * kLanes);
    auto largest = before;
    for (int key = range.first; key < range.end; ++key) largest = hn::Max(hn::Load(d, logits + key * kPanel), largest);
    // If all logits so far are -infinity, any finite reference gives weight 0.
    const auto reference = hn::IfThenZeroElse(hn::Eq(largest, hn::Set(d, kNegativeInfinity)), largest);
    rescale[i] =
        hn::IfThenElse(hn::Eq(before, largest), hn::Set(d, 1.0f), exp_nonpositive(d, hn::Sub(before, largest)));
    auto sum = hn::Zero(d);
    for (int key = range.first; key < range.end; ++key) {
      const auto weight = exp_nonpositive(d, hn::Sub(hn::Load(d, logits + key * kPanel), reference));
      sum = hn::Add(sum, weight);
      hn::Store(weight, d, logits + key * kPanel);
    }
    hn::Store(largest, d, panel.maxima + i * kLanes);
    float* const weights = panel.weights + i * kLanes;
    hn::Store(hn::MulAdd(hn::Load(d, weights), rescale[i], sum), d, weights);
  }
}

/// Adds the weighted values of kRows dimensions from `dim` on.
HWY_INLINE void add_values(const PromptBlock& block, const Panel& panel, Range range, int dim,
                           const FloatVector (&rescale)[kVectors]) {
  const Floats d;
  FloatVector sums[kRows * kVectors];
  HASHEVICT_UNROLL
  for (FloatVector& sum : sums) sum = hn::Zero(d);
  for (int key = range.first; key < range.end; ++key) {
    const float* const value = block.values[key] + dim;
    FloatVector weight[kVectors];
    HASHEVICT_UNROLL
    for (int i = 0; i < kVectors; ++i) weight[i] = hn::Load(d, panel.logits + key * kPanel + i * kLanes);
    HASHEVICT_UNROLL
    for (int r = 0; r < kRows; ++r) add_products<1>(weight, hn::Set(d, value[r]), &sums[r * kVectors]);
  }
  HASHEVICT_UNROLL
  for (int i = 0; i < kRows * kVectors; ++i) {
    float* const sum = panel.sums + dim * kPanel + i * kLanes;
    hn::Store(hn::MulAdd(hn::Load(d, sum), rescale[i % kVectors], sums[i]), d, sum);
  }
}

/// add_values() for a block with values that are not finite and that some query does not see. Its results have the
/// same bits where no such value takes part.
void add_visible_values(const PromptBlock& block, const Panel& panel, Range range, int head_dim,
                        const FloatVector (&rescale)[kVectors]) {
  const Floats d;
  for (int dim = 0; dim < head_dim; ++dim) {
    for (int i = 0; i < kVectors; ++i) {
      auto sum = hn::Zero(d);
      for (int key = range.first; key < range.end; ++key) {
        const auto weight = hn::Load(d, panel.logits + key * kPanel + i * kLanes);
        const auto added = hn::MulAdd(weight, hn::Set(d, block.values[key][dim]), sum);
        sum = hn::IfThenElse(sees(block, key, panel.tokens + i * kLanes), added, sum);
      }
      float* const total = panel.sums + dim * kPanel + i * kLanes;
      hn::Store(hn::MulAdd(hn::Load(d, total), rescale[i], sum), d, total);
    }
  }
}

/// Whether a value of the block is not finite.
bool has_special_values(const PromptBlock& block, int head_dim) {
  const hn::CappedTag<float, 8> d;  // head_dim is a multiple of 8
  auto zeros = hn::Zero(d);
  for (int key = 0; key < block.num_keys; ++key) {
    for (int dim = 0; dim < head_dim; dim += static_cast<int>(hn::MaxLanes(d))) {
      zeros = hn::MulAdd(hn::LoadU(d, block.values[key] + dim), hn::Zero(d), zeros);
    }
  }
  return !hn::AllTrue(d, hn::Eq(zeros, hn::Zero(d)));
}

void add_block(const PromptTile& tile, const PromptBlock& block) {
  const bool special = block.births != nullptr && has_special_values(block, tile.head_dim);
  for (int first_query = 0; first_query < tile.num_queries; first_query += kPanel) {
    const Panel panel = panel_of(tile, first_query);
    const Range range = visible_range(block, panel);
    if (range.first == range.end) continue;
    for (int key = range.first / kRows * kRows; key < range.end; key += kRows) {
      dot_keys(block.keys + key, panel.queries, tile.head_dim, panel.logits + key * kPanel);
    }
    if (tile.logit_soft_cap != 0) {
      cap_logits(panel.logits + range.first * kPanel, (range.end - range.first) * kPanel, tile.logit_soft_cap);
    }
    if (block.births != nullptr) hide_keys(block, panel, range);
    FloatVector rescale[kVectors];
    weigh_keys(panel, range, rescale);
    if (special) {
      add_visible_values(block, panel, range, tile.head_dim, rescale);
      continue;
    }
    for (int dim = 0; dim < tile.head_dim; dim += kRows) add_values(block, panel, range, dim, rescale);
  }
}

void start_tile(const PromptTile& tile, const float* queries) {
  for (int first_query = 0; first_query < tile.num_queries; first_query += kPanel) {
    const int first = first_query * tile.head_dim;
    for (int lane = 0; lane < kPanel; ++lane) {
      const int query = HWY_MIN(first_query + lane, tile.num_queries - 1);  // padding repeats the last query
      float* to = tile.queries + first + lane;
      for (int dim = 0; dim < tile.head_dim; ++dim, to += kPanel) *to = queries[query * tile.head_dim + dim];
      tile.tokens[first_query + lane] = query / tile.group;
      tile.maxima[first_query + lane] = kNegativeInfinity;
      tile.weights[first_query + lane] = 0;
    }
    for (int i = 0; i < kPanel * tile.head_dim; ++i) tile.sums[first + i] = 0;
  }
}

void finish_tile(const PromptTile& tile, float* out, float* lse) {
  for (int query = 0; query < tile.num_queries; ++query) {
    const int lane = query % kPanel;
    const float* from = tile.sums + (query - lane) * tile.head_dim + lane;
    const float weights = tile.weights[query];
    for (int dim = 0; dim < tile.head_dim; ++dim, from += kPanel) {
      out[query * tile.head_dim + dim] = weights == 0 ? 0 : *from / weights;
    }
    lse[query] = weights == 0 ? kNegativeInfinity : tile.maxima[query] + std::log(weights);
  }
}

}  // namespace
}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(start_tile);
HWY_EXPORT(add_block);
HWY_EXPORT(finish_tile);

}  // namespace

void start_prompt_tile(const PromptTile& tile, const float* queries) {
  HWY_DYNAMIC_DISPATCH(start_tile)(tile, queries);
}

void add_prompt_block(const PromptTile& tile, const PromptBlock& block) {
  HWY_DYNAMIC_DISPATCH(add_block)(tile, block);
}

void finish_prompt_tile(const PromptTile& tile, float* out, float* lse) {
  HWY_DYNAMIC_DISPATCH(finish_tile)(tile, out, lse);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
