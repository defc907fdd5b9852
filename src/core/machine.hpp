// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace hashevict::core {

/// CPUs that this process can use at once: those of its affinity mask, but no more than its cgroups' quota of CPU time,
/// rounded up. At least 1.
/// @param root folder that stands for `/`, so that tests can provide cgroups
int32_t usable_threads(const std::string& root = "");

/// Bytes of host memory that this process may use in all: the machine's, but no more than its cgroups and resource
/// limits allow.
uint64_t usable_memory(const std::string& root = "");

}  // namespace hashevict::core
