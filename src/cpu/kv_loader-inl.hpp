// SPDX-License-Identifier: Apache-2.0
// Widening loads of keys and values, compiled once per instruction set: no include guard but Highway's.
#include <hwy/highway.h>

#include "cpu/half-inl.hpp"

#if defined(HASHEVICT_CPU_KV_LOADER_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_KV_LOADER_INL_HPP
#undef HASHEVICT_CPU_KV_LOADER_INL_HPP
#else
#define HASHEVICT_CPU_KV_LOADER_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// At most 8 lanes: memory is the limit, wider vectors would gain nothing, and so any head_dim is a number of vector
/// pairs and at most one single vector.
using Floats = hwy::HWY_NAMESPACE::CappedTag<float, 8>;
using FloatVector = hwy::HWY_NAMESPACE::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hwy::HWY_NAMESPACE::MaxLanes(Floats()));

// A loader reads the elements of one key or value as vectors of fp32:
//   first(), second()  2 * kLanes elements; element 2 i and 2 i + 1 go to lane i of the two vectors if kInterleaved,
//                      else the first kLanes elements to the first vector and the others to the second;
//   single()           kLanes elements in order.

struct FloatLoader {
  using Element = float;
  static constexpr bool kInterleaved = false;
  static HWY_INLINE FloatVector single(const Element* from) { return hwy::HWY_NAMESPACE::LoadU(Floats(), from); }
  static HWY_INLINE FloatVector first(const Element* from) { return single(from); }
  static HWY_INLINE FloatVector second(const Element* from) { return single(from + kLanes); }
};

struct HalfLoader {
  using Element = uint16_t;
  static constexpr bool kInterleaved = false;
  static HWY_INLINE FloatVector single(const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    const auto bits = hn::LoadU(hn::Rebind<uint16_t, Floats>(), from);
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || HWY_ARCH_ARM_A64
    return hn::PromoteTo(Floats(), hn::BitCast(hn::Rebind<hwy::float16_t, Floats>(), bits));
#else
    return half_to_float(Floats(), bits);
#endif
  }
  static HWY_INLINE FloatVector first(const Element* from) {
    return single(from);
  }
  static HWY_INLINE FloatVector second(const Element* from) {
    return single(from + kLanes);
  }
};

struct BfloatLoader {
  using Element = uint16_t;
  static constexpr bool kInterleaved = true;
  static HWY_INLINE FloatVector single(const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    const auto bits = hn::PromoteTo(hn::RebindToUnsigned<Floats>(), hn::LoadU(hn::Rebind<uint16_t, Floats>(), from));
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(bits));
  }
#if HWY_TARGET == HWY_SCALAR
  static HWY_INLINE FloatVector first(const Element* from) {
    return single(from);
  }
  static HWY_INLINE FloatVector second(const Element* from) {
    return single(from + 1);
  }
#else
  // Two elements are one word: its low half is the even element, its high half with the rest cleared the odd one.
  using Words = hwy::HWY_NAMESPACE::RebindToUnsigned<Floats>;
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<Words> words(const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    return hn::BitCast(Words(), hn::LoadU(hn::Repartition<uint16_t, Floats>(), from));
  }
  static HWY_INLINE FloatVector first(const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(words(from)));
  }
  static HWY_INLINE FloatVector second(const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    return hn::BitCast(Floats(), hn::And(words(from), hn::Set(Words(), 0xFFFF0000U)));
  }
#endif
};

/// Which element of a pair lane `lane` of its vector `half` (0 or 1) holds.
template <class Loader>
constexpr int element_of(int half, int lane) {
  return Loader::kInterleaved ? 2 * lane + half : half * kLanes + lane;
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
