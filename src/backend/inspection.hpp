// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/backend.hpp"

/// Queries about a cache and the library: the addresses of the state, statistics, capabilities.
namespace hashevict {

hashevict_view make_view(const core::Storage& storage, int32_t layer, int32_t kv_head);

/// Totals over one layer, KV head and sequence; -1 stands for all of them. Waits for the device.
hashevict_statistics make_statistics(Backend& backend, int32_t layer, int32_t kv_head, int32_t sequence,
                                     hashevict_stream stream);

/// The capabilities that all backends of this library share.
hashevict_capabilities library_capabilities();

}  // namespace hashevict
