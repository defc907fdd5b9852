// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"
#include "hashevict/hashevict.h"

namespace hashevict::core {

/// Element types: the values of ::hashevict_dtype.
enum class DType : int32_t {
  float32 = HASHEVICT_FLOAT32,
  float16 = HASHEVICT_FLOAT16,
  bfloat16 = HASHEVICT_BFLOAT16,
  int32 = HASHEVICT_INT32,
  uint8 = HASHEVICT_UINT8
};

/// Bytes of one element.
HASHEVICT_HOST_DEVICE constexpr int size_of(DType dtype) {
  if (dtype == DType::uint8) return 1;
  return dtype == DType::float16 || dtype == DType::bfloat16 ? 2 : 4;
}

}  // namespace hashevict::core
