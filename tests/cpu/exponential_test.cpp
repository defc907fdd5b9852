// SPDX-License-Identifier: Apache-2.0
// exp and tanh of src/cpu/exponential-inl.hpp against double precision.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "each_target.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "exponential_test.cpp"
#include <hwy/foreach_target.h>
// foreach_target must come first
#include <hwy/highway.h>

#include "cpu/exponential-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using Tag = hn::CappedTag<float, 8>;

/// In place; `count` is a multiple of 8.
void exp_all(float* x, size_t count) {
  for (size_t i = 0; i < count; i += hn::Lanes(Tag()))
    hn::StoreU(exp_nonpositive(Tag(), hn::LoadU(Tag(), x + i)), Tag(), x + i);
}
void tanh_all(float* x, size_t count) {
  for (size_t i = 0; i < count; i += hn::Lanes(Tag()))
    hn::StoreU(tanh_of(Tag(), hn::LoadU(Tag(), x + i)), Tag(), x + i);
}

}  // namespace
}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hashevict::cpu {
namespace {

HWY_EXPORT(exp_all);
HWY_EXPORT(tanh_all);

class Exponential : public EachTarget {};
HASHEVICT_FOR_EACH_TARGET(Exponential);

/// Floats from 0 to `limit`, `step` bit patterns apart; their number is a multiple of 8.
std::vector<float> magnitudes(float limit, uint32_t step) {
  std::vector<float> x;
  for (uint32_t bits = 0; bits <= std::bit_cast<uint32_t>(limit); bits += step) x.push_back(std::bit_cast<float>(bits));
  while (x.size() % 8 != 0) x.push_back(limit);
  return x;
}

/// The error in units of the last place of the exact value.
double ulps(float got, double exact) {
  return std::abs(got - exact) / std::ldexp(1.0, std::ilogb(exact) - 23);
}

TEST_P(Exponential, IsWithinItsUlps) {
  std::vector<float> x = magnitudes(87.336f, 1009);
  for (float& element : x) element = -element;
  std::vector<float> y = x;
  HWY_DYNAMIC_DISPATCH(exp_all)(y.data(), y.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, ulps(y[i], std::exp(double{x[i]})));
  RecordProperty("ulps", std::to_string(worst));
  EXPECT_LE(worst, 1.1);
}

TEST_P(Exponential, HasExactLimits) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  float x[8] = {0.0f, -0.0f, -87.4f, -1e30f, -infinity, nan, -nan, -1e-30f};
  HWY_DYNAMIC_DISPATCH(exp_all)(x, 8);
  EXPECT_EQ(x[0], 1.0f);
  EXPECT_EQ(x[1], 1.0f);
  for (int i = 2; i < 5; ++i) EXPECT_EQ(x[i], 0.0f);
  for (int i = 5; i < 7; ++i) EXPECT_TRUE(std::isnan(x[i]));
  EXPECT_EQ(x[7], 1.0f);
}

TEST_P(Exponential, TanhIsWithinItsUlps) {
  const std::vector<float> x = magnitudes(1e4f, 1009);
  std::vector<float> y = x;
  HWY_DYNAMIC_DISPATCH(tanh_all)(y.data(), y.size());
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] >= std::numeric_limits<float>::min()) worst = std::max(worst, ulps(y[i], std::tanh(double{x[i]})));
  }
  RecordProperty("ulps", std::to_string(worst));
  EXPECT_LE(worst, 3.0);
}

TEST_P(Exponential, TanhIsOddAndReachesOne) {
  const float infinity = std::numeric_limits<float>::infinity();
  float x[8] = {0.0f, -0.0f, infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), 20.0f, 0.3f, -0.3f};
  HWY_DYNAMIC_DISPATCH(tanh_all)(x, 8);
  EXPECT_EQ(std::bit_cast<uint32_t>(x[0]), 0U);
  EXPECT_EQ(std::bit_cast<uint32_t>(x[1]), 0x80000000U);
  EXPECT_EQ(x[2], 1.0f);
  EXPECT_EQ(x[3], -1.0f);
  EXPECT_TRUE(std::isnan(x[4]));
  EXPECT_EQ(x[5], 1.0f);
  EXPECT_EQ(x[6], -x[7]);
}

}  // namespace
}  // namespace hashevict::cpu
#endif  // HWY_ONCE
