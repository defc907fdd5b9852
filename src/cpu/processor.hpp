// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace hashevict::cpu {

/// What attention wants to know of the processor beyond Highway's instruction sets.
struct Processor {
  /// It has `vdpbf16ps`.
  bool multiplies_bfloat;
  /// Prefetches of attention go to the second-level cache. From Zen 4 on, those to the first level hold up the
  /// processor's own prefetcher: one core then reads two streams at 20 GB/s instead of 27. Other processors were
  /// measured to be faster with them.
  bool fetches_to_second_level;
};

const Processor& processor();

}  // namespace hashevict::cpu
