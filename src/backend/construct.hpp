// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "backend/backend.hpp"

/// What creating a cache has in common on every backend.
namespace hashevict {

/// Checks lent memory and adds what the caller did not lend, from `allocate(bytes)`.
core::Storage make_storage(core::Settings settings, const hashevict_memory* memory, uint64_t workspace_bytes,
                           const std::function<void*(uint64_t)>& allocate);

/// Draws the projections of all layers into the state (docs/algorithm.md).
void draw_projections(Backend& backend);

}  // namespace hashevict
