// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "kernels/detail/attend_piece.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

inline constexpr int32_t kAttendThreads = 128;
inline constexpr int32_t kAttendWarps = kAttendThreads / simt::kWarpSize;
inline constexpr int32_t kLogAttendWarps = 2;
static_assert(1 << kLogAttendWarps == kAttendWarps);
inline constexpr int32_t kMmaSlots = 16;  ///< slots that a warp takes per turn on tensor cores

/// The compile-time parameters of attention: the type of keys and values, the lanes that share a row, and the queries
/// that share a pass over the slots.
template <DType kDtypeValue, int32_t kLanesValue, int32_t kTileValue>
struct AttendShape {
  static constexpr DType kDtype = kDtypeValue;
  static constexpr int32_t kLanes = kLanesValue;
  static constexpr int32_t kTile = kTileValue;
  static constexpr int32_t kGroups = kAttendThreads / kLanes;  ///< lane groups of a block, each with a slot of its own
  /// Slots that a lane group takes per turn. Fewer where rows or queries take many registers.
  static constexpr int32_t kTurn = kDtype == DType::float32 || 4 * kTile > kLanes ? 2 : 4;
  static constexpr int32_t kTurnSlots = kTurn * kGroups;  ///< slots that a block takes per turn
  static constexpr int32_t kDots =
      kTile * kTurn;  ///< dots of a lane group per turn; the slots of a query are neighbours
  static constexpr int32_t kHeld =
      kDots > kLanes ? kDots / kLanes : 1;  ///< dots that each lane holds after the reduction
  static constexpr int32_t kSpread = kDots > kLanes ? 1 : kLanes / kDots;  ///< lanes that hold the same dot
  static constexpr int32_t kQueryLanes = kSpread * kTurn / kHeld;          ///< lanes that hold a query's dots
  static constexpr int32_t kBlocks = kTile >= 4 ? 2 : 3;  ///< blocks per multiprocessor that the kernel is compiled for
  static_assert((1 << core::kSplitBits) % kTurnSlots == 0);

  /// The lane of a group that holds a dot after the reduction.
  static HASHEVICT_HOST_DEVICE constexpr int32_t lane_of(int32_t dot) { return dot / kHeld * kSpread; }
};

/// The parameters on tensor cores (attend_mma.cuh). Weights are split into 16-bit parts: 24 bits of them survive, or 22
/// for fp16.
template <DType kDtypeValue, int32_t kDimsValue>
struct MmaShape {
  static constexpr DType kDtype = kDtypeValue;
  static constexpr int32_t kDims = kDimsValue;  ///< largest head_dim
  static constexpr int32_t kTile = 8;           ///< queries per pass: the columns of a product
  static constexpr bool kIsBfloat = kDtype == DType::bfloat16;
  static constexpr int32_t kParts = kIsBfloat ? 3 : 2;
  static constexpr int32_t kBlocks = kDims > 64 ? 2 : 3;
  /// Whether registers hold all values of a turn at once.
  static constexpr bool kLoadsTogether = kDims <= 128;
};

/// Whether tensor cores are used. Smaller groups have too little arithmetic per key to gain, and queries of another
/// type than the keys' would have to be rounded.
HASHEVICT_HOST_DEVICE constexpr bool uses_mma(int32_t group_size, DType query_dtype, DType dtype) {
  return group_size >= 4 && query_dtype == dtype && (dtype == DType::float16 || dtype == DType::bfloat16);
}

/// Calls `visitor(AttendShape<...>{})` for the number of lanes that a row needs.
template <DType kDtype, int32_t kTile, class Visitor>
decltype(auto) visit_lanes(int32_t head_dim, const Visitor& visitor) {
  if (head_dim <= 8 * kPieceElements) return visitor(AttendShape<kDtype, 8, kTile>{});
  if (head_dim <= 16 * kPieceElements) return visitor(AttendShape<kDtype, 16, kTile>{});
  return visitor(AttendShape<kDtype, 32, kTile>{});
}

/// For the number of queries that share a pass over the slots. A group of more takes several passes.
template <DType kDtype, class Visitor>
decltype(auto) visit_tiles(const core::Shape& shape, const Visitor& visitor) {
  if (shape.group_size == 1) return visit_lanes<kDtype, 1>(shape.head_dim, visitor);
  if (shape.group_size == 2) return visit_lanes<kDtype, 2>(shape.head_dim, visitor);
  return visit_lanes<kDtype, 4>(shape.head_dim, visitor);
}

template <DType kDtype, class Visitor>
decltype(auto) visit_dims(int32_t head_dim, const Visitor& visitor) {
  if (head_dim <= 64) return visitor(MmaShape<kDtype, 64>{});
  if (head_dim <= 128) return visitor(MmaShape<kDtype, 128>{});
  return visitor(MmaShape<kDtype, 256>{});
}

/// Calls `visitor(shape)` for a cache and queries of a type. This is the only list of instances: 33 a kernel.
template <class Visitor>
decltype(auto) visit_shape(const core::Shape& shape, DType query_dtype, const Visitor& visitor) {
  const DType dtype = shape.format.dtype;
  if (uses_mma(shape.group_size, query_dtype, dtype)) {
    if (dtype == DType::float16) return visit_dims<DType::float16>(shape.head_dim, visitor);
    return visit_dims<DType::bfloat16>(shape.head_dim, visitor);
  }
  if (dtype == DType::float16) return visit_tiles<DType::float16>(shape, visitor);
  if (dtype == DType::bfloat16) return visit_tiles<DType::bfloat16>(shape, visitor);
  return visit_tiles<DType::float32>(shape, visitor);
}

}  // namespace hashevict::kernels
