// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_piece.cuh"
#include "kernels/params.hpp"

/// Rows of keys and values, moved as they are in the largest units that their addresses allow.
namespace hashevict::kernels {

/// Calls `visitor(Unit{})`: 16 bytes if all rows are aligned to them, else one element.
template <class Visitor>
HASHEVICT_DEVICE void visit_row_unit(bool aligned, int32_t dtype, const Visitor& visitor) {
  if (aligned) {
    visitor(simt::Bytes16{});
  } else if (dtype == HASHEVICT_FLOAT32) {
    visitor(uint32_t{});
  } else {
    visitor(uint16_t{});
  }
}

template <class Unit>
HASHEVICT_DEVICE int32_t units_of_row(int32_t head_dim, int32_t dtype) {
  return head_dim * size_of(dtype) / static_cast<int32_t>(sizeof(Unit));
}

/// Unit `unit` of the row that starts `offset` elements after `base`.
template <class Unit>
HASHEVICT_DEVICE const Unit* row_unit(const void* base, int32_t dtype, int64_t offset, int32_t unit) {
  const auto* const row = static_cast<const unsigned char*>(base) + offset * size_of(dtype);
  return reinterpret_cast<const Unit*>(row) + unit;
}
template <class Unit>
HASHEVICT_DEVICE Unit* row_unit(void* base, int32_t dtype, int64_t offset, int32_t unit) {
  return const_cast<Unit*>(row_unit<Unit>(const_cast<const void*>(base), dtype, offset, unit));
}

}  // namespace hashevict::kernels
