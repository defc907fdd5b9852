// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::test {

/// Bytes of managed memory that were ever allocated.
uint64_t managed_bytes();

}  // namespace hashevict::test
