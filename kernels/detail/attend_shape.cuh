// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "kernels/detail/attend_piece.cuh"
#include "kernels/params.hpp"

namespace hashevict::kernels {

inline constexpr int32_t kAttendThreads = 128;
inline constexpr int32_t kAttendWarps = kAttendThreads / simt::kWarpSize;

/// What attention is compiled for: the type of keys and values, the lanes that share a row, and the queries that share
/// a pass over the slots.
template <int32_t kDtypeValue, int32_t kLanesValue, int32_t kTileValue>
struct AttendShape {
  static constexpr int32_t kDtype = kDtypeValue;
  static constexpr int32_t kLanes = kLanesValue;
  static constexpr int32_t kTile = kTileValue;
  static constexpr int32_t kGroups = kAttendThreads / kLanes;  ///< lane groups of a block, a slot each
  /// Slots that a lane group takes at a time: what is on its way to the block then covers the latency of memory. Fewer
  /// where rows or queries take many registers.
  static constexpr int32_t kTurn = kTile == 8 || kDtype == HASHEVICT_FLOAT32 || 4 * kTile > kLanes ? 2 : 4;
  static constexpr int32_t kTurnSlots = kTurn * kGroups;  ///< and all of a block
  static constexpr int32_t kDots = kTile * kTurn;         ///< of a lane group's turn, slots of a query neighbours
  static constexpr int32_t kHeld = kDots > kLanes ? kDots / kLanes : 1;    ///< dots that a lane ends up with
  static constexpr int32_t kSpread = kDots > kLanes ? 1 : kLanes / kDots;  ///< lanes that end up with the same
  static constexpr int32_t kQueryLanes = kSpread * kTurn / kHeld;          ///< lanes that end up with a query's dots
  static constexpr int32_t kBlocks = kTile >= 4 ? 2 : 3;                   ///< that a multiprocessor has room for
  static_assert(kSplitSlots % kTurnSlots == 0);

  /// The lane of a group that ends up with a dot.
  static HASHEVICT_HOST_DEVICE constexpr int32_t lane_of(int32_t dot) { return dot / kHeld * kSpread; }
};

/// The same on tensor cores (attend_mma.cuh). Weights are split into parts of 16 bits: 24 bits of them, or 22 of fp16.
template <int32_t kDtypeValue, int32_t kDimsValue>
struct MmaShape {
  static constexpr int32_t kDtype = kDtypeValue;
  static constexpr int32_t kDims = kDimsValue;  ///< head_dim at most
  static constexpr int32_t kTile = 8;           ///< queries: columns of a product
  static constexpr bool kIsBfloat = kDtype == HASHEVICT_BFLOAT16;
  static constexpr int32_t kParts = kIsBfloat ? 3 : 2;
  static constexpr int32_t kBlocks = kDims > 64 ? 2 : 3;
};

/// Whether tensor cores take it: with fewer queries a key there is too little arithmetic to wait for, and queries of
/// another type than the keys' would have to be rounded.
HASHEVICT_HOST_DEVICE constexpr bool uses_mma(int32_t group_size, int32_t query_dtype, int32_t dtype) {
  return group_size >= 4 && query_dtype == dtype && dtype != HASHEVICT_FLOAT32;
}

/// How a group's queries are taken: `visitor(tile)` with `decltype(tile)::kQueries` for one pass over the slots.
template <int32_t kQueriesValue, bool kMmaValue>
struct Tile {
  static constexpr int32_t kQueries = kQueriesValue;
  static constexpr bool kMma = kMmaValue;
};

template <class Visitor>
decltype(auto) visit_tile(int32_t group_size, bool mma, const Visitor& visitor) {
  if (mma) return visitor(Tile<8, true>{});
  if (group_size == 1) return visitor(Tile<1, false>{});
  if (group_size == 2) return visitor(Tile<2, false>{});
  if (group_size <= 4) return visitor(Tile<4, false>{});
  return visitor(Tile<8, false>{});
}

/// Calls `visitor(AttendShape<...>{})` with the lanes that a row needs.
HASHEVICT_EXEC_CHECK_DISABLE
template <int32_t kDtype, int32_t kTile, class Visitor>
HASHEVICT_HOST_DEVICE decltype(auto) visit_lanes(int32_t head_dim, const Visitor& visitor) {
  if (head_dim <= 8 * kPieceElements) return visitor(AttendShape<kDtype, 8, kTile>{});
  if (head_dim <= 16 * kPieceElements) return visitor(AttendShape<kDtype, 16, kTile>{});
  return visitor(AttendShape<kDtype, 32, kTile>{});
}

HASHEVICT_EXEC_CHECK_DISABLE
template <int32_t kDtype, class Visitor>
HASHEVICT_HOST_DEVICE decltype(auto) visit_dims(int32_t head_dim, const Visitor& visitor) {
  if (head_dim <= 64) return visitor(MmaShape<kDtype, 64>{});
  if (head_dim <= 128) return visitor(MmaShape<kDtype, 128>{});
  return visitor(MmaShape<kDtype, 256>{});
}

/// Calls `visitor(shape)` for rows of a type and size: with visit_tile() the one list of instances. For `kMma` the type
/// has 16 bits, and the tile is that of MmaShape.
HASHEVICT_EXEC_CHECK_DISABLE
template <int32_t kTile, bool kMma, class Visitor>
HASHEVICT_HOST_DEVICE decltype(auto) visit_rows(int32_t dtype, int32_t head_dim, const Visitor& visitor) {
  if constexpr (kMma) {
    if (dtype == HASHEVICT_FLOAT16) return visit_dims<HASHEVICT_FLOAT16>(head_dim, visitor);
    return visit_dims<HASHEVICT_BFLOAT16>(head_dim, visitor);
  } else {
    if (dtype == HASHEVICT_FLOAT16) return visit_lanes<HASHEVICT_FLOAT16, kTile>(head_dim, visitor);
    if (dtype == HASHEVICT_BFLOAT16) return visit_lanes<HASHEVICT_BFLOAT16, kTile>(head_dim, visitor);
    return visit_lanes<HASHEVICT_FLOAT32, kTile>(head_dim, visitor);
  }
}

}  // namespace hashevict::kernels
