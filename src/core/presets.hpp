// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "hashevict/hashevict.h"

/// The named rules of the C ABI, and its defaults.
namespace hashevict::core {

/// All fields of a named rule. Fails with INVALID_ARGUMENT if no preset has the number.
hashevict_rule preset_rule(int32_t preset);

/// The default config. The caller sets struct_size.
hashevict_config default_config();

}  // namespace hashevict::core
