// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/settings.hpp"
#include "core/step.hpp"

namespace hashevict::core {

/// The number of last query tokens that prefill mode WINDOW uses in a head, at most the slots beside the sinks.
inline int32_t query_window(const Step& step, const HeadSettings& head) {
  return std::min(step.prefill_window, head.capacity - head.num_sink_tokens);
}

}  // namespace hashevict::core
