// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace hashevict::core {

/// Values of LayerState::center_set: the origin of a sequence's centre.
enum CenterOrigin : int32_t { kCenterUnset = 0, kCenterFromPrompt = 1, kCenterGiven = 2 };

}  // namespace hashevict::core
