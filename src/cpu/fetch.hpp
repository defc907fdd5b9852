// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hwy/cache_control.h>

#include <cstdint>

#include "cpu/processor.hpp"

namespace hashevict::cpu {

inline constexpr int kLineBytes = 64;

/// Fetches a line into the first-level cache, or only into the second-level one. Always inlined: calls among the
/// products halve the speed of attention.
/// @param to_second_level Processor::fetches_to_second_level, looked up outside of loops
HWY_INLINE void fetch_line(const void* at, bool to_second_level) {
#if defined(__GNUC__) || defined(__clang__)
  if (to_second_level) {
    __builtin_prefetch(at, 0, 2);
    return;
  }
#endif
  hwy::Prefetch(at);
}

/// Fetches the lines of `bytes` bytes.
inline void fetch_bytes(const void* from, int64_t bytes) {
  const bool to_second_level = processor().fetches_to_second_level;
  for (int64_t at = 0; at < bytes; at += kLineBytes) {
    fetch_line(static_cast<const unsigned char*>(from) + at, to_second_level);
  }
}

}  // namespace hashevict::cpu
