// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "backend/backend.hpp"

/// The weights by which a layer computes the importance of its keys. Tensors are host memory; the calls wait for the
/// device and may allocate.
namespace hashevict {

/// Fails with INVALID_ARGUMENT for an element that is not finite, and with INVALID_STATE if a sequence of the layer
/// holds tokens.
void set_importance_weights(Backend& backend, int32_t layer, const hashevict_tensor* weight,
                            const hashevict_tensor* bias);

/// Fails with INVALID_STATE if a layer computes importances by weights that have not been set.
void require_importance_weights(const Backend& backend, int32_t layer, const char* operation);

}  // namespace hashevict
