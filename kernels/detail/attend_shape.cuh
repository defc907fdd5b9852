// SPDX-License-Identifier: Apache-2.0
#pragma once

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
  /// Slots that a lane group takes at a time: what is on its way to the block then covers the latency of memory.
  static constexpr int32_t kTurn = kTile == 8 || kDtype == HASHEVICT_FLOAT32 ? 2 : 4;
  static constexpr int32_t kTurnSlots = kTurn * kGroups;  ///< and all of a block
  static constexpr int32_t kDots = kTile * kTurn;         ///< of a lane group's turn, slots of a query neighbours
  static constexpr int32_t kHeld = kDots > kLanes ? kDots / kLanes : 1;    ///< dots that a lane ends up with
  static constexpr int32_t kSpread = kDots > kLanes ? 1 : kLanes / kDots;  ///< lanes that end up with the same
  static constexpr int32_t kQueryLanes = kSpread * kTurn / kHeld;          ///< lanes that end up with a query's dots
  static constexpr int32_t kBlocks = kTile == 8 ? 2 : 3;                   ///< that a multiprocessor has room for
  static_assert(kSplitSlots % kTurnSlots == 0);

  /// The lane of a group that ends up with a dot.
  static HASHEVICT_HOST_DEVICE constexpr int32_t lane_of(int32_t dot) { return dot / kHeld * kSpread; }
};

/// Calls `visitor(AttendShape<...>{})`: the one list of instances, and the switch over them. Host only.
template <class Visitor>
decltype(auto) visit_shape(int32_t dtype, int32_t head_dim, int32_t group_size, const Visitor& visitor) {
  const auto with_tile = [&](auto of_type, auto lanes) {
    constexpr int32_t kDtype = decltype(of_type)::kDtype;
    constexpr int32_t kLanes = decltype(lanes)::kLanes;
    if (group_size == 1) return visitor(AttendShape<kDtype, kLanes, 1>{});
    if (group_size == 2) return visitor(AttendShape<kDtype, kLanes, 2>{});
    if (group_size <= 4) return visitor(AttendShape<kDtype, kLanes, 4>{});
    return visitor(AttendShape<kDtype, kLanes, 8>{});
  };
  const auto with_lanes = [&](auto of_type) {
    if (head_dim <= 8 * kPieceElements) return with_tile(of_type, AttendShape<0, 8, 1>{});
    if (head_dim <= 16 * kPieceElements) return with_tile(of_type, AttendShape<0, 16, 1>{});
    return with_tile(of_type, AttendShape<0, 32, 1>{});
  };
  if (dtype == HASHEVICT_FLOAT16) return with_lanes(AttendShape<HASHEVICT_FLOAT16, 8, 1>{});
  if (dtype == HASHEVICT_BFLOAT16) return with_lanes(AttendShape<HASHEVICT_BFLOAT16, 8, 1>{});
  return with_lanes(AttendShape<HASHEVICT_FLOAT32, 8, 1>{});
}

}  // namespace hashevict::kernels
