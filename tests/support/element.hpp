// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/tensor.hpp>

#include "reference/rounding.hpp"

namespace hashevict::test {

std::size_t size_of(DType dtype);

/// Writes a value that `dtype` represents exactly; NaN and infinities are allowed.
void store(DType dtype, float value, void* target);
float load(DType dtype, const void* source);

reference::Storage storage_of(DType dtype);

}  // namespace hashevict::test
