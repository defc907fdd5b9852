// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/backend.hpp"

/// The caller's access to the encoder: projections and centres. Tensors are host memory; the calls wait for the device
/// and may allocate.
namespace hashevict {

/// Whether a layer holds no tokens, of any sequence (core::kAll) or of `sequence`. Waits for the device.
bool is_empty(Backend& backend, int32_t layer, int32_t sequence);

/// Fails with INVALID_ARGUMENT for an entry that is not finite, and with INVALID_STATE if a sequence of the layer holds
/// tokens.
void set_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection);

/// Fails with INVALID_STATE if a layer's learned projection has not been set, since its codes would be meaningless.
void require_projection(const Backend& backend, int32_t layer, const char* operation);

void get_projection(Backend& backend, int32_t layer, const hashevict_tensor* projection);

/// Fails with INVALID_ARGUMENT for an element that is not finite, and with INVALID_STATE if the sequence holds tokens
/// in the layer.
void set_center(Backend& backend, int32_t layer, int32_t sequence, const hashevict_tensor* key_center,
                const hashevict_tensor* query_center);

}  // namespace hashevict
