// SPDX-License-Identifier: Apache-2.0
// Widening loads of keys and values, compiled once per instruction set, behind Highway's guard.
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

/// Vectors of up to 16 lanes, as in AVX-512. A row of any head_dim then is a number of vector pairs, at most one more
/// vector and, where vectors have 16 lanes, at most half of one.
using Floats = hwy::HWY_NAMESPACE::CappedTag<float, 16>;
using FloatVector = hwy::HWY_NAMESPACE::Vec<Floats>;
constexpr int kLanes = static_cast<int>(hwy::HWY_NAMESPACE::MaxLanes(Floats()));
/// Every head_dim is a multiple of it.
constexpr int kHeadDimStep = 8;

// A loader reads the elements of one key or value as vectors of fp32:
//   first(), second()  2 * kLanes elements. If kInterleaved, elements 2 i and 2 i + 1 go to lane i of the two vectors;
//                      else the first kLanes elements go to the first vector and the others to the second.
//   load(d)            as many elements as `d` has lanes, in order.

struct FloatLoader {
  using Element = float;
  static constexpr bool kInterleaved = false;
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const Element* from) {
    return hwy::HWY_NAMESPACE::LoadU(d, from);
  }
  static HWY_INLINE FloatVector first(const Element* from) { return load(Floats(), from); }
  static HWY_INLINE FloatVector second(const Element* from) { return load(Floats(), from + kLanes); }
};

struct HalfLoader {
  using Element = uint16_t;
  static constexpr bool kInterleaved = false;
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    const auto bits = hn::LoadU(hn::Rebind<uint16_t, D>(), from);
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_F16C)) || HWY_ARCH_ARM_A64
    return hn::PromoteTo(d, hn::BitCast(hn::Rebind<hwy::float16_t, D>(), bits));
#else
    return half_to_float(d, bits);
#endif
  }
  static HWY_INLINE FloatVector first(const Element* from) {
    return load(Floats(), from);
  }
  static HWY_INLINE FloatVector second(const Element* from) {
    return load(Floats(), from + kLanes);
  }
};

struct BfloatLoader {
  using Element = uint16_t;
  static constexpr bool kInterleaved = true;
  template <class D>
  static HWY_INLINE hwy::HWY_NAMESPACE::Vec<D> load(D d, const Element* from) {
    namespace hn = hwy::HWY_NAMESPACE;
    const auto bits = hn::PromoteTo(hn::RebindToUnsigned<D>(), hn::LoadU(hn::Rebind<uint16_t, D>(), from));
    return hn::BitCast(d, hn::ShiftLeft<16>(bits));
  }
#if HWY_TARGET == HWY_SCALAR
  static HWY_INLINE FloatVector first(const Element* from) {
    return load(Floats(), from);
  }
  static HWY_INLINE FloatVector second(const Element* from) {
    return load(Floats(), from + 1);
  }
#else
  // Two elements share a word: its low half is the even element; its high half, with the low bits cleared, is the odd
  // one.
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

/// Casts a row to its element type.
template <class Loader>
HWY_INLINE const typename Loader::Element* elements_of(const unsigned char* row) {
  return reinterpret_cast<const typename Loader::Element*>(row);
}

/// Loads the vector behind the last pair.
template <class Loader>
HWY_INLINE FloatVector load_vector(const typename Loader::Element* from) {
  return Loader::load(Floats(), from);
}

/// Loads the last kHeadDimStep elements if vectors have twice as many lanes; the other lanes are zero.
template <class Loader>
HWY_INLINE FloatVector load_rest(const typename Loader::Element* from) {
#if HWY_TARGET == HWY_SCALAR
  return load_vector<Loader>(from);  // compiled but never run
#else
  namespace hn = hwy::HWY_NAMESPACE;
  return hn::ZeroExtendVector(Floats(), Loader::load(hn::Half<Floats>(), from));
#endif
}

/// Returns the element of a pair that is in lane `lane` of its vector `half` (0 or 1).
template <class Loader>
constexpr int element_of(int half, int lane) {
  return Loader::kInterleaved ? 2 * lane + half : half * kLanes + lane;
}

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
