// SPDX-License-Identifier: Apache-2.0
// exp and tanh in vectors, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#if defined(HASHEVICT_CPU_EXPONENTIAL_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_EXPONENTIAL_INL_HPP
#undef HASHEVICT_CPU_EXPONENTIAL_INL_HPP
#else
#define HASHEVICT_CPU_EXPONENTIAL_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Computes exp(x) for x <= 0, within 1.1 ulp; exp(0) is exactly 1. Results below the smallest normal number become 0.
/// NaN stays NaN. exp(x) = 2^n exp(r) with |r| <= ln 2 / 2 and a minimax polynomial of degree 6 (relative error
/// 2^-28.3).
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V exp_nonpositive(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToSigned<D> di;
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
  const auto magic = hn::Set(d, 0x1.8p23f);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 0x1.715476p0f), magic);
  const auto n = hn::Sub(shifted, magic);
  // ln 2 in two parts; the first is short enough that n times it is exact.
  auto r = hn::NegMulAdd(n, hn::Set(d, 0x1.62ep-1f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 0x1.0bfbe8p-15f), r);
  auto p = hn::Set(d, 0x1.6a23dp-10f);
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.123a2p-7f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.5558f2p-5f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.555492p-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 0x1.fffffcp-2f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), hn::Set(d, 1.0f));
  // A product instead of an addition to the exponent, so that NaN stays NaN.
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::BitCast(di, shifted), hn::Set(di, 127)));
  const auto result = hn::Mul(p, hn::BitCast(d, power));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33654f)), result);
}

/// Computes tanh(x) within 3 ulp for any x: an odd polynomial near 0 (relative error 2^-27.7), elsewhere (1 - t) / (1 +
/// t) with t = exp(-2 |x|).
template <class D, class V = hwy::HWY_NAMESPACE::Vec<D>>
HWY_INLINE V tanh_of(D d, V x) {
  namespace hn = hwy::HWY_NAMESPACE;
  const auto one = hn::Set(d, 1.0f);
  const auto absolute = hn::Abs(x);
  const auto t = exp_nonpositive(d, hn::Mul(absolute, hn::Set(d, -2.0f)));
  const auto far = hn::Div(hn::Sub(one, t), hn::Add(one, t));
  const auto z = hn::Mul(x, x);
  auto p = hn::Set(d, -0.00570498699346f);
  p = hn::MulAdd(p, z, hn::Set(d, 0.0206390872447f));
  p = hn::MulAdd(p, z, hn::Set(d, -0.0537397150858f));
  p = hn::MulAdd(p, z, hn::Set(d, 0.133314421982f));
  p = hn::MulAdd(p, z, hn::Set(d, -0.33333281942f));
  const auto near = hn::MulAdd(hn::Mul(p, z), absolute, absolute);
  return hn::CopySign(hn::IfThenElse(hn::Lt(absolute, hn::Set(d, 0.625f)), near, far), x);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
