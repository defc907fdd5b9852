// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "config.hpp"
#include "config_fields.hpp"

namespace hashevict::engine {

/// Refuses each field of a `config.json` that could change the decoder's results and is not honoured.
/// parse_model_config() checks rotary settings within objects.
/// @param config read from the same file: some settings are neutral for one shape only
/// @throws Error unsupported, naming the field and its value
void require_known_keys(const Fields& fields, const ModelConfig& config);

}  // namespace hashevict::engine
