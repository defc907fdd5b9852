// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

/// The clocks of one launcher: sums in the device's memory, which the launcher's file has for itself.
namespace hashevict::kernels {

inline constexpr int32_t kNumPhases = static_cast<int32_t>(Phase::count);

struct PhaseSums {
  unsigned long long marks[kNumPhases];
  unsigned long long cycles[kNumPhases];
};
[[maybe_unused]] static __device__ PhaseSums phase_sums;

/// The block's last mark.
HASHEVICT_DEVICE long long& last_mark() {
  __shared__ long long last;
  return last;
}
HASHEVICT_DEVICE void start_clock() {
  if (simt::thread_index() == 0) last_mark() = clock64();
}
HASHEVICT_DEVICE void mark(Phase phase) {
  if (simt::thread_index() != 0) return;
  const long long now = clock64();
  atomicAdd(phase_sums.marks + static_cast<int32_t>(phase), 1ULL);
  atomicAdd(phase_sums.cycles + static_cast<int32_t>(phase), static_cast<unsigned long long>(now - last_mark()));
  last_mark() = clock64();  // without the atomics
}

/// The clocks of a launcher in the list of all; static, so construction needs no order.
struct ClockSource {
  const char* file;
  bool (*take)(PhaseSums&);  ///< copies the sums and sets them to 0
  ClockSource* next;

  static ClockSource*& first();  // one list for all launchers: clocks.cu
  ClockSource(const char* name, bool (*taker)(PhaseSums&)) : file{name}, take{taker}, next{first()} { first() = this; }
};

}  // namespace hashevict::kernels

#define HASHEVICT_CLOCKS_OF(file)                                                                       \
  static bool take_clocks(::hashevict::kernels::PhaseSums& sums) {                                      \
    constexpr ::hashevict::kernels::PhaseSums kZero{};                                                  \
    return cudaMemcpyFromSymbol(&sums, ::hashevict::kernels::phase_sums, sizeof sums) == cudaSuccess && \
           cudaMemcpyToSymbol(::hashevict::kernels::phase_sums, &kZero, sizeof kZero) == cudaSuccess;   \
  }                                                                                                     \
  static ::hashevict::kernels::ClockSource clock_source {                                               \
#file, take_clocks                                                                                  \
  }
