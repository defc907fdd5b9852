// SPDX-License-Identifier: Apache-2.0
#pragma once

/// HASHEVICT_UNROLL unrolls the loop behind it, of a small constant trip count, at every optimisation level, because
/// the array of vectors that it indexes must become registers. HASHEVICT_UNROLL_TWICE takes two rounds at a time, which
/// halves the cost of the loop itself.
#if defined(__clang__)
#define HASHEVICT_UNROLL _Pragma("clang loop unroll(full)")
#define HASHEVICT_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#elif defined(__GNUC__)
#define HASHEVICT_UNROLL _Pragma("GCC unroll 32")
#define HASHEVICT_UNROLL_TWICE _Pragma("GCC unroll 2")
#else
#define HASHEVICT_UNROLL
#define HASHEVICT_UNROLL_TWICE
#endif
