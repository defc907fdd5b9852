// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/backend.hpp"

/// What a caller may look at: where the state lies, what the cache has done, what the library can do.
namespace hashevict {

hashevict_view make_view(const core::Storage& storage, int32_t layer);

/// Totals over one layer and sequence, or over all of them where -1. Waits for the device.
hashevict_statistics make_statistics(Backend& backend, int32_t layer, int32_t sequence, hashevict_stream stream);

/// What holds for every backend of this library.
hashevict_capabilities library_capabilities();

}  // namespace hashevict
