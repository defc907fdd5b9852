// SPDX-License-Identifier: Apache-2.0
#include "elementwise.hpp"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engine/elementwise.cpp"
#include <hwy/foreach_target.h>

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace hashevict::engine::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Wide = hn::ScalableTag<float>;
using Single = hn::CappedTag<float, 1>;

// Calls body(tag, i) for whole vectors, then for each remaining element.
template <class Body>
HWY_INLINE void for_each(int64_t size, const Body& body) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Wide()));
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) body(Wide(), i);
  for (; i < size; ++i) body(Single(), i);
}

// accumulate(sum, x) over whole vectors, lane by lane, then across the lanes, then over the elements left over.
template <class Accumulate, class AcrossLanes>
HWY_INLINE float reduce(const float* x, int64_t size, float initial, const Accumulate& accumulate,
                        const AcrossLanes& across_lanes) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(Wide()));
  auto wide = hn::Set(Wide(), initial);
  int64_t i = 0;
  for (; i + lanes <= size; i += lanes) wide = accumulate(wide, hn::LoadU(Wide(), x + i));
  auto single = hn::Set(Single(), hn::GetLane(across_lanes(Wide(), wide)));
  for (; i < size; ++i) single = accumulate(single, hn::LoadU(Single(), x + i));
  return hn::GetLane(single);
}

float sum_of_squares(const float* x, int64_t size) {
  return reduce(
      x, size, 0.0F, [](auto sum, auto v) { return hn::MulAdd(v, v, sum); },
      [](auto d, auto v) { return hn::SumOfLanes(d, v); });
}

float maximum(const float* x, int64_t size) {
  return reduce(
      x, size, -std::numeric_limits<float>::infinity(), [](auto largest, auto v) { return hn::Max(largest, v); },
      [](auto d, auto v) { return hn::MaxOfLanes(d, v); });
}

float sum(const float* x, int64_t size) {
  return reduce(
      x, size, 0.0F, [](auto sum, auto v) { return hn::Add(sum, v); },
      [](auto d, auto v) { return hn::SumOfLanes(d, v); });
}

void rms_norm_vectors(const float* x, const float* weight, int64_t size, float epsilon, float* out) {
  const float factor = 1.0F / std::sqrt(sum_of_squares(x, size) / static_cast<float>(size) + epsilon);
  for_each(size, [&](auto d, int64_t i) {
    const auto normed = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor));
    hn::StoreU(hn::Mul(normed, hn::LoadU(d, weight + i)), d, out + i);
  });
}

void rotate_vectors(float* x, const float* cosines, const float* sines, int64_t half) {
  for_each(half, [&](auto d, int64_t i) {
    const auto low = hn::LoadU(d, x + i);
    const auto high = hn::LoadU(d, x + half + i);
    const auto cosine = hn::LoadU(d, cosines + i);
    const auto sine = hn::LoadU(d, sines + i);
    hn::StoreU(hn::Sub(hn::Mul(low, cosine), hn::Mul(high, sine)), d, x + i);
    hn::StoreU(hn::Add(hn::Mul(high, cosine), hn::Mul(low, sine)), d, x + half + i);
  });
}

void silu_multiply_vectors(const float* gate, const float* up, int64_t size, float* out) {
  for_each(size, [&](auto d, int64_t i) {
    const auto x = hn::LoadU(d, gate + i);
    // The bound keeps the exponential finite; beyond it the quotient is too small to change a sum.
    const auto exponential = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 87.0F)));
    const auto activated = hn::Div(x, hn::Add(hn::Set(d, 1.0F), exponential));
    hn::StoreU(hn::Mul(activated, hn::LoadU(d, up + i)), d, out + i);
  });
}

void add_vectors(const float* x, int64_t size, float* y) {
  for_each(size, [&](auto d, int64_t i) { hn::StoreU(hn::Add(hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, y + i); });
}

void scale_vectors(float factor, int64_t size, float* x) {
  for_each(size, [&](auto d, int64_t i) { hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, factor)), d, x + i); });
}

float softmax_block_vectors(float* scores, int64_t size, float factor, SoftmaxState& state) {
  const float largest = std::fmax(state.maximum, factor * maximum(scores, size));
  for_each(size, [&](auto d, int64_t i) {
    const auto score = hn::Mul(hn::LoadU(d, scores + i), hn::Set(d, factor));
    hn::StoreU(hn::Exp(d, hn::Sub(score, hn::Set(d, largest))), d, scores + i);
  });
  const float shrink = std::exp(state.maximum - largest);
  state.sum = state.sum * shrink + sum(scores, size);
  state.maximum = largest;
  return shrink;
}

}  // namespace
}  // namespace hashevict::engine::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::engine {
namespace {

HWY_EXPORT(rms_norm_vectors);
HWY_EXPORT(rotate_vectors);
HWY_EXPORT(silu_multiply_vectors);
HWY_EXPORT(add_vectors);
HWY_EXPORT(scale_vectors);
HWY_EXPORT(softmax_block_vectors);

}  // namespace

void rms_norm(const float* x, const float* weight, std::int64_t size, float epsilon, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm_vectors)(x, weight, size, epsilon, out);
}

void rotate(float* x, const float* cosines, const float* sines, std::int64_t half) {
  HWY_DYNAMIC_DISPATCH(rotate_vectors)(x, cosines, sines, half);
}

void silu_multiply(const float* gate, const float* up, std::int64_t size, float* out) {
  HWY_DYNAMIC_DISPATCH(silu_multiply_vectors)(gate, up, size, out);
}

void add(const float* x, std::int64_t size, float* y) {
  HWY_DYNAMIC_DISPATCH(add_vectors)(x, size, y);
}

void scale(float factor, std::int64_t size, float* x) {
  HWY_DYNAMIC_DISPATCH(scale_vectors)(factor, size, x);
}

float softmax_block(float* scores, std::int64_t size, float factor, SoftmaxState& state) {
  return HWY_DYNAMIC_DISPATCH(softmax_block_vectors)(scores, size, factor, state);
}

}  // namespace hashevict::engine
#endif  // HWY_ONCE
