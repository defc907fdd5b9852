// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "backend/backend.hpp"

/// The steps of creating a cache that all backends share.
namespace hashevict {

/// Checks lent memory and allocates, by `allocate(bytes)`, the memory that the caller did not lend.
core::Storage make_storage(core::Settings settings, const hashevict_memory* memory, uint64_t workspace_bytes,
                           const std::function<void*(uint64_t)>& allocate);

/// Writes the parts of the state that construction determines: the slots of every head, the splits of launches, and
/// the projections of all layers (docs/algorithm.md). Layers with learned projections get zeros. Waits for the device,
/// once.
void write_parameters(Backend& backend);

}  // namespace hashevict
