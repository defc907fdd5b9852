// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace hashevict::cpu {

/// Widens `n` elements `stride` apart to fp32, exactly. Zeros, subnormals and infinities keep their value. A NaN keeps
/// its sign and payload: the payload moves to the top of the fp32 mantissa, and a signalling NaN stays signalling. The
/// bits are the same on every machine, whatever its vector unit and flush-to-zero mode.
/// @param dtype  float32, float16 or bfloat16
/// @param source element 0, aligned to the element; does not overlap `target`
/// @param stride elements between two source elements; any value, 1 is the fast case
/// @param target [n], dense
void load_row(core::DType dtype, const void* source, int64_t stride, float* target, int n);

/// Narrows `n` fp32 values to `dtype`, rounding to nearest even. Overflow gives infinity; underflow gives subnormals
/// and signed zeros as in IEEE 754. A NaN stays a NaN: it keeps its sign and leading payload bits, and its quiet bit is
/// set. The bits are the same on every machine (as above).
/// @param source [n], dense
/// @param target element 0, aligned to the element; does not overlap `source`
/// @param stride elements between two target elements; memory between them is left as it is
void store_row(core::DType dtype, const float* source, void* target, int64_t stride, int n);

}  // namespace hashevict::cpu
