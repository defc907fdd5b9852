// SPDX-License-Identifier: Apache-2.0
#include <exception>

#include "read_bandwidth.hpp"

/// \file
/// ReadBandwidth for bench/peers/, through ctypes.
#define HASHEVICT_BENCH_EXPORT extern "C" __attribute__((visibility("default")))

/// nullptr: there is no memory.
HASHEVICT_BENCH_EXPORT void* hashevict_read_bandwidth_create(int64_t bytes, int32_t num_threads) {
  try {
    return new hashevict::bench::ReadBandwidth(bytes, num_threads);
  } catch (const std::exception&) {
    return nullptr;
  }
}

HASHEVICT_BENCH_EXPORT uint64_t hashevict_read_bandwidth_read(void* buffer) {
  return static_cast<hashevict::bench::ReadBandwidth*>(buffer)->read_once();
}

HASHEVICT_BENCH_EXPORT void hashevict_read_bandwidth_destroy(void* buffer) {
  delete static_cast<hashevict::bench::ReadBandwidth*>(buffer);
}
