// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_piece.cuh"
#include "kernels/params.hpp"

/// Rows of keys and values, copied bit by bit in the largest units that their addresses allow.
namespace hashevict::kernels {

/// Calls `visitor(Unit{})` with units of 16 bytes if all rows are aligned to them, else with units of one element.
template <class Visitor>
HASHEVICT_DEVICE void visit_row_unit(bool aligned, DType dtype, const Visitor& visitor) {
  if (aligned) {
    visitor(simt::Bytes16{});
  } else if (dtype == DType::float32) {
    visitor(uint32_t{});
  } else {
    visitor(uint16_t{});
  }
}

template <class Unit>
HASHEVICT_DEVICE int32_t units_of_row(const core::RowFormat& format) {
  return format.row_bytes() / static_cast<int32_t>(sizeof(Unit));
}

/// Unit number `unit` of the row that starts `offset` bytes after `base`.
template <class Unit>
HASHEVICT_DEVICE const Unit* row_unit(const void* base, int64_t offset, int32_t unit) {
  return reinterpret_cast<const Unit*>(static_cast<const unsigned char*>(base) + offset) + unit;
}
template <class Unit>
HASHEVICT_DEVICE Unit* row_unit(void* base, int64_t offset, int32_t unit) {
  return const_cast<Unit*>(row_unit<Unit>(const_cast<const void*>(base), offset, unit));
}

}  // namespace hashevict::kernels
