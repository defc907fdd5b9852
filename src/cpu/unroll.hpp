// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Before a loop with a small constant trip count: unroll it whatever the optimisation level, because the array of
/// vectors it indexes must become registers. HASHEVICT_UNROLL_TWICE: two rounds at a time, to halve what the loop
/// itself costs.
#if defined(__clang__)
#define HASHEVICT_UNROLL _Pragma("clang loop unroll(full)")
#define HASHEVICT_UNROLL_TWICE _Pragma("clang loop unroll_count(2)")
#elif defined(__GNUC__)
#define HASHEVICT_UNROLL _Pragma("GCC unroll 16")
#define HASHEVICT_UNROLL_TWICE _Pragma("GCC unroll 2")
#else
#define HASHEVICT_UNROLL
#define HASHEVICT_UNROLL_TWICE
#endif
