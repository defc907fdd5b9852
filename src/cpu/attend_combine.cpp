// SPDX-License-Identifier: Apache-2.0
#include "cpu/attend_combine.hpp"

#include <cmath>
#include <limits>

#include "cpu/highway_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/attend_combine.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/exponential-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

/// Combines the splits of one query.
void combine(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, int32_t query,
             float* out, float* lse) {
  const hn::CappedTag<float, 8> d;  // head_dim is a multiple of 8
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

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(combine_all);

}  // namespace

void combine_splits(const float* partials, int32_t num_splits, int32_t num_queries, int32_t head_dim, float* out,
                    float* lse) {
  HWY_DYNAMIC_DISPATCH(combine_all)(partials, num_splits, num_queries, head_dim, out, lse);
}

}  // namespace hashevict::cpu
#endif  // HWY_ONCE
