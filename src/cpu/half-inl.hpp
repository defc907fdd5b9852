// SPDX-License-Identifier: Apache-2.0
// Widening and narrowing of 16-bit floats in vectors, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#if defined(HASHEVICT_CPU_HALF_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_HALF_INL_HPP
#undef HASHEVICT_CPU_HALF_INL_HPP
#else
#define HASHEVICT_CPU_HALF_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// Widens fp16 to fp32 exactly, in integer arithmetic. The bits are the same everywhere, also of infinities and NaN
/// payloads.
template <class D, class V16>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> half_to_float(D d, V16 half) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::PromoteTo(du, half);
  const auto magnitude = hn::And(bits, hn::Set(du, 0x7FFF));
  const auto rebias = hn::Set(du, (127 - 15) << 23);
  const auto normal = hn::Add(hn::ShiftLeft<13>(magnitude), rebias);
  // The exponent of infinity and NaN is 31; rebiased twice it is 255.
  const auto is_special = hn::Gt(hn::BitCast(di, magnitude), hn::Set(di, 0x7BFF));
  const auto finite_or_special = hn::Add(normal, hn::IfThenElseZero(hn::RebindMask(du, is_special), rebias));
  // Subnormals are integers times 2^-24. Both factors are normal, so flush-to-zero modes have no effect.
  const auto subnormal = hn::Mul(hn::ConvertTo(d, hn::BitCast(di, magnitude)), hn::Set(d, 0x1p-24f));
  const auto is_subnormal = hn::Lt(hn::BitCast(di, magnitude), hn::Set(di, 0x0400));
  const auto absolute = hn::IfThenElse(hn::RebindMask(du, is_subnormal), hn::BitCast(du, subnormal), finite_or_special);
  return hn::BitCast(d, hn::Or(absolute, hn::ShiftLeft<16>(hn::Sub(bits, magnitude))));
}

/// Rounds fp32 to fp16, to nearest even. The result is in the low 16 bits of each lane.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::RebindToUnsigned<D>> float_to_half_bits(
    D d, hwy::HWY_NAMESPACE::Vec<D> values) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(du, values);
  const auto absolute = hn::And(bits, hn::Set(du, 0x7FFFFFFF));
  const auto compared = hn::BitCast(di, absolute);

  const auto rebiased = hn::Sub(absolute, hn::Set(du, (127 - 15) << 23));
  const auto odd = hn::And(hn::ShiftRight<13>(rebiased), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<13>(hn::Add(rebiased, hn::Add(odd, hn::Set(du, 0x0FFF))));
  const auto normal = hn::Min(hn::BitCast(di, rounded), hn::Set(di, 0x7C00));
  // Adding 1/2 leaves exactly the fp16 subnormal's bits at the end of the mantissa, rounded by the addition itself.
  const auto shifted = hn::BitCast(di, hn::Add(hn::BitCast(d, absolute), hn::Set(d, 0.5f)));
  const auto subnormal = hn::Sub(shifted, hn::Set(di, 0x3F000000));
  const auto payload = hn::And(hn::ShiftRight<13>(absolute), hn::Set(du, 0x03FF));
  const auto not_a_number = hn::BitCast(di, hn::Or(payload, hn::Set(du, 0x7E00)));

  const auto finite = hn::IfThenElse(hn::Lt(compared, hn::Set(di, 0x38800000)), subnormal, normal);
  const auto result = hn::IfThenElse(hn::Gt(compared, hn::Set(di, 0x7F800000)), not_a_number, finite);
  return hn::Or(hn::BitCast(du, result), hn::ShiftRight<16>(hn::Sub(bits, absolute)));
}

/// Rounds fp32 to bf16, to nearest even. The result is in the low 16 bits of each lane.
template <class D>
HWY_INLINE hwy::HWY_NAMESPACE::Vec<hwy::HWY_NAMESPACE::RebindToUnsigned<D>> float_to_bfloat_bits(
    D /*d*/, hwy::HWY_NAMESPACE::Vec<D> values) {
  namespace hn = hwy::HWY_NAMESPACE;
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const auto bits = hn::BitCast(du, values);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFF))));
  const auto not_a_number = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x0040));
  const auto absolute = hn::BitCast(di, hn::And(bits, hn::Set(du, 0x7FFFFFFF)));
  const auto is_nan = hn::RebindMask(du, hn::Gt(absolute, hn::Set(di, 0x7F800000)));
  return hn::IfThenElse(is_nan, not_a_number, rounded);
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
