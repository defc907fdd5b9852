// SPDX-License-Identifier: Apache-2.0
// Dot products of queries and keys of bf16 by products of bf16, compiled once per instruction set, behind Highway's
// guard.
#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "cpu/attend_dots-inl.hpp"

#if defined(HASHEVICT_CPU_ATTEND_BFLOAT_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_BFLOAT_INL_HPP
#undef HASHEVICT_CPU_ATTEND_BFLOAT_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_BFLOAT_INL_HPP
#endif

/// Whether the code for an instruction set can have `vdpbf16ps`. The processor may still lack it.
#undef HASHEVICT_BFLOAT_PRODUCTS
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3 && (HWY_COMPILER_GCC || HWY_COMPILER_CLANG)
#define HASHEVICT_BFLOAT_PRODUCTS 1
#else
#define HASHEVICT_BFLOAT_PRODUCTS 0
#endif

#if HASHEVICT_BFLOAT_PRODUCTS
// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

using Bfloats = hwy::HWY_NAMESPACE::Repartition<uint16_t, Floats>;
using BfloatVector = hwy::HWY_NAMESPACE::Vec<Bfloats>;
constexpr int kBfloats = 2 * kLanes;

/// sum += a * b, two neighbouring elements a lane. Products are exact. In assembly, since Highway has the instruction
/// only in later versions, and for instruction sets with more than this one.
HWY_INLINE void add_pairs(BfloatVector a, BfloatVector b, FloatVector& sum) {
  __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
}

template <int kQueries, int kKeys>
HWY_INLINE void add_pairs_of(const BfloatVector (&key)[kKeys], const uint16_t* query, FloatVector* sums) {
  HASHEVICT_UNROLL
  for (int q = 0; q < kQueries; ++q) {
    const auto of_query = hwy::HWY_NAMESPACE::Load(Bfloats(), query + q * kBfloats);
    HASHEVICT_UNROLL
    for (int k = 0; k < kKeys; ++k) add_pairs(key[k], of_query, sums[k * kQueries + q]);
  }
}

/// Dots of queries that are numbers of bf16. The scale of the softmax is not one, so it multiplies the dots.
struct BfloatDots {
  static constexpr bool kScaled = false;

  /// Interleaves the queries of a set vector by vector. Zeros fill the last vector.
  static void pack(const AttendSplit& split, int32_t first_query, const QuerySet& set) {
    const int head_dim = split.format.head_dim;
    const float* const from = split.queries + (int64_t{first_query} + set.first) * head_dim;
    auto* to = reinterpret_cast<uint16_t*>(set.queries);
    for (int dim = 0; dim < head_dim; dim += kBfloats) {
      for (int q = 0; q < set.width; ++q) {
        for (int e = dim; e < dim + kBfloats; ++e) {
          uint32_t bits = 0;
          if (q < set.count && e < head_dim) std::memcpy(&bits, from + q * head_dim + e, sizeof bits);
          *to++ = static_cast<uint16_t>(bits >> 16);
        }
      }
    }
  }

  /// dots[key * kQueries + query] = <query, key> for kKeys keys. Fetches as many bytes as it reads.
  template <int kQueries, int kKeys>
  static HWY_INLINE void of_keys(const unsigned char* keys, const int64_t* offsets, const float* queries, int head_dim,
                                 float* dots, LinesAhead& ahead) {
    namespace hn = hwy::HWY_NAMESPACE;
    const Bfloats d;
    const auto* query = reinterpret_cast<const uint16_t*>(queries);
    const uint16_t* key[kKeys];
    BfloatVector loaded[kKeys];
    FloatVector sums[kQueries * kKeys];
    HASHEVICT_UNROLL
    for (int k = 0; k < kKeys; ++k) key[k] = reinterpret_cast<const uint16_t*>(keys + offsets[k]);
    HASHEVICT_UNROLL
    for (int i = 0; i < kQueries * kKeys; ++i) sums[i] = hn::Zero(Floats());
    int dim = 0;
    for (; dim + kBfloats <= head_dim; dim += kBfloats, query += kBfloats * kQueries) {
      HASHEVICT_UNROLL
      for (int line = 0; line < kKeys; ++line) ahead.fetch();
      HASHEVICT_UNROLL
      for (int k = 0; k < kKeys; ++k) loaded[k] = hn::LoadU(d, key[k] + dim);
      add_pairs_of<kQueries, kKeys>(loaded, query, sums);
    }
    if (dim < head_dim) {
      const auto rest = hn::FirstN(d, static_cast<std::size_t>(head_dim - dim));
      HASHEVICT_UNROLL
      for (int k = 0; k < kKeys; ++k) loaded[k] = hn::MaskedLoad(rest, d, key[k] + dim);
      add_pairs_of<kQueries, kKeys>(loaded, query, sums);
    }
    store_dots(sums, dots);
  }
};
static_assert(kBfloats * sizeof(uint16_t) == kLineBytes);

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
#endif  // HASHEVICT_BFLOAT_PRODUCTS

#endif  // per-target guard
