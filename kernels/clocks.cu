// SPDX-License-Identifier: Apache-2.0
// Compiled with HASHEVICT_KERNEL_CLOCKS alone.
#include "kernels/detail/clocks.cuh"

namespace hashevict::kernels {

ClockSource*& ClockSource::first() {
  static ClockSource* source = nullptr;
  return source;
}

}  // namespace hashevict::kernels

extern "C" __attribute__((visibility("default"))) int32_t hashevict_read_kernel_clocks(
    hashevict::kernels::PhaseClock* clocks, int32_t count) {
  using namespace hashevict::kernels;
  int32_t found = 0;
  for (const ClockSource* source = ClockSource::first(); source != nullptr; source = source->next) {
    PhaseSums sums{};
    if (!source->take(sums)) return -1;
    for (int32_t i = 0; i < kNumPhases; ++i) {
      if (sums.marks[i] == 0 || found == count) continue;
      clocks[found++] = {source->file, static_cast<Phase>(i), sums.marks[i], sums.cycles[i]};
    }
  }
  return found;
}
