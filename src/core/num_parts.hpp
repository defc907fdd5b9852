// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace hashevict::core {

/// Parts of `part` items that hold `count`: pages of slots, splits of a head.
HASHEVICT_HOST_DEVICE constexpr int32_t num_parts(int32_t count, int32_t part) {
  return count / part + (count % part != 0 ? 1 : 0);
}

}  // namespace hashevict::core
