// SPDX-License-Identifier: Apache-2.0
// Products of vectors whose sums stay in registers, compiled once per instruction set, behind Highway's guard.
//
// The sums of up to kWidestKernel queries stay in registers, so that each key and value is loaded and widened once for
// all of them. A query's arithmetic is the same, in the same order, in every instance, so its result does not depend on
// the queries that it shares registers with.
#include <hwy/highway.h>

#include "cpu/kv_loader-inl.hpp"
#include "cpu/unroll.hpp"

#if defined(HASHEVICT_CPU_ATTEND_PRODUCTS_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_ATTEND_PRODUCTS_INL_HPP
#undef HASHEVICT_CPU_ATTEND_PRODUCTS_INL_HPP
#else
#define HASHEVICT_CPU_ATTEND_PRODUCTS_INL_HPP
#endif

// Offsets within one tile or its scratch rows are small: int is enough.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)
HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

/// sum += a * b. Left to itself, GCC loads a factor again for every use and puts the result into the other factor's
/// register. Then loads limit the loops and the sums run out of registers.
HWY_INLINE void add_product(FloatVector a, FloatVector b, FloatVector& sum) {
#if HWY_COMPILER_GCC && !HWY_COMPILER_CLANG && HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2 && !defined(HWY_DISABLE_BMI2_FMA)
  __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
#else
  sum = hwy::HWY_NAMESPACE::MulAdd(a, b, sum);
#endif
}

/// sums[i * kStride] += vectors[i] * factor.
template <int kStride, int kCount>
HWY_INLINE void add_products(const FloatVector (&vectors)[kCount], FloatVector factor, FloatVector* sums) {
  HASHEVICT_UNROLL
  for (int i = 0; i < kCount; ++i) add_product(vectors[i], factor, sums[i * kStride]);
}

/// AVX-512 has twice as many vector registers as SSE and AVX2: sums of 16 products stay in them instead of 8, or 12.
constexpr bool kManyRegisters = kLanes == 16;
/// Queries of the widest kernel: more share each widened key and value, as long as registers hold their sums.
constexpr int kWidestKernel = kManyRegisters ? 8 : 4;
/// Keys (or vectors of values) multiplied with kQueries queries at a time: as many as registers can hold sums for.
template <int kQueries>
constexpr int kFactors = kManyRegisters ? 8 / HWY_MAX(kQueries / 2, 1) : 8 / kQueries;

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)

#endif  // per-target guard
