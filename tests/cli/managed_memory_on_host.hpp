// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::test {

/// Returns the bytes of managed memory allocated so far.
uint64_t managed_bytes();

}  // namespace hashevict::test
