// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.hpp"
#include "core/host_device.hpp"

namespace hashevict::core {

/// The storage format of one key or value, and the only source of a row's bytes. Trivially copyable, for host and
/// device.
struct RowFormat {
  DType dtype;       ///< of the elements
  int32_t head_dim;  ///< elements of a row, a multiple of 8

  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t element_bytes() const { return size_of(dtype); }
  [[nodiscard]] HASHEVICT_HOST_DEVICE constexpr int32_t row_bytes() const { return head_dim * element_bytes(); }
};

}  // namespace hashevict::core
