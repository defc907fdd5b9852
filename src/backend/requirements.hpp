// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/settings.hpp"
#include "hashevict/hashevict.h"

/// Resolves a config to settings and sizes before a cache exists.
namespace hashevict {

/// Validates a config and resolves its backend. Fails with UNSUPPORTED if this build or machine lacks the backend.
core::Settings resolve_config(const hashevict_config* config);

/// The memory that a cache of these settings needs. Fails with INVALID_ARGUMENT if a size exceeds any address space.
hashevict_bytes required_bytes(const core::Settings& settings);

}  // namespace hashevict
