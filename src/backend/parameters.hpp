// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/backend.hpp"

/// What a caller may give a cache besides tokens: projections and centres. Host tensors; these calls wait for the
/// device and may allocate.
namespace hashevict {

/// Fails with INVALID_STATE where a sequence of the layer holds tokens.
void set_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection);

void get_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection);

/// Fails with INVALID_STATE where the sequence holds tokens in the layer.
void set_center(Backend& backend, int32_t layer, int32_t sequence, const hashevict_tensor* key_center,
                const hashevict_tensor* query_center);

}  // namespace hashevict
