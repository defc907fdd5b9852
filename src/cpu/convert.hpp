// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.hpp"

namespace hashevict::cpu {

/// Widens `n` elements `stride` apart to fp32, exactly: zeros, subnormals, infinities keep their value, a NaN its sign
/// and payload (the payload moves to the top of the fp32 mantissa; signalling stays signalling).
/// The bits are the same on every machine, whatever its vector unit and whatever the flush-to-zero mode.
/// @param dtype  float32, float16 or bfloat16
/// @param source element 0, aligned to the element; not overlapping `target`
/// @param stride elements between two source elements; any value, 1 is the fast case
/// @param target [n], dense
void load_row(core::DType dtype, const void* source, int64_t stride, float* target, int n);

/// Narrows `n` fp32 values to `dtype`, rounding to nearest even: overflow gives infinity, underflow subnormals and
/// signed zeros as IEEE 754 has it. A NaN stays a NaN: sign and leading payload bits are kept, the quiet bit is set.
/// The bits are the same on every machine (as above).
/// @param source [n], dense
/// @param target element 0, aligned to the element; not overlapping `source`
/// @param stride elements between two target elements; those between stay untouched
void store_row(core::DType dtype, const float* source, void* target, int64_t stride, int n);

}  // namespace hashevict::cpu
