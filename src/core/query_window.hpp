// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/settings.hpp"
#include "core/step.hpp"

namespace hashevict::core {

/// Last query tokens that prefill mode WINDOW looks at: sinks must fit beside them.
inline int32_t query_window(const Step& step, const LayerSettings& shape) {
  return std::min(step.prefill_window, shape.capacity - shape.num_sink_tokens);
}

}  // namespace hashevict::core
