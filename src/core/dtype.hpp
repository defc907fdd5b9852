// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/host_device.hpp"

namespace hashevict::core {

/// Element types; the values are those of ::hashevict_dtype.
enum class DType : int32_t { float32 = 0, float16 = 1, bfloat16 = 2, int32 = 3, uint8 = 4 };

/// Bytes of one element.
HASHEVICT_HOST_DEVICE constexpr int size_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::float16:
    case DType::bfloat16:
      return 2;
    case DType::uint8:
      return 1;
  }
  return 0;
}

/// Whether keys, values and queries may have this type.
HASHEVICT_HOST_DEVICE constexpr bool is_float(DType dtype) {
  return dtype == DType::float32 || dtype == DType::float16 || dtype == DType::bfloat16;
}

}  // namespace hashevict::core
