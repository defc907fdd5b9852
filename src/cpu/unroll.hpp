// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Before a loop with a small constant trip count: unroll it whatever the optimisation level, because the array of
/// vectors it indexes must become registers.
#if defined(__clang__)
#define HASHEVICT_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define HASHEVICT_UNROLL _Pragma("GCC unroll 16")
#else
#define HASHEVICT_UNROLL
#endif
