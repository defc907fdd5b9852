// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/prefill_fma.cuh"
#include "kernels/detail/prefill_mma.cuh"

namespace hashevict::kernels {

/// Calls `visitor(shape)` for queries of a type; together with its users the only list of instances.
template <class Visitor>
auto visit_tile_shape(const core::Shape& shape, DType query_dtype, const Visitor& visitor) {
  const DType dtype = shape.format.dtype;
  if (query_dtype != dtype || dtype == DType::float32) {
    if (shape.head_dim <= 64) return visitor(TileFma<64>{});
    if (shape.head_dim <= 128) return visitor(TileFma<128>{});
    return visitor(TileFma<256>{});
  }
  if (dtype == DType::float16) {
    if (shape.head_dim <= 64) return visitor(TileMma<DType::float16, 64>{});
    if (shape.head_dim <= 128) return visitor(TileMma<DType::float16, 128>{});
    return visitor(TileMma<DType::float16, 256>{});
  }
  if (shape.head_dim <= 64) return visitor(TileMma<DType::bfloat16, 64>{});
  if (shape.head_dim <= 128) return visitor(TileMma<DType::bfloat16, 128>{});
  return visitor(TileMma<DType::bfloat16, 256>{});
}

template <DType kDtype, int32_t kDims>
HASHEVICT_DEVICE void attend_tile(TileMma<kDtype, kDims> /*shape*/, const TileInput& in) {
  using Shape = TileMma<kDtype, kDims>;
  simt::SharedMemory memory;
  const TileMmaShared shared = take_tile_mma<Shape>(memory);
  TileMmaWork<Shape> work{in, shared};
  for_blocks_of_keys<Shape::kKeys>(in, shared.list, work);
  work.store();
}

template <int32_t kDims>
HASHEVICT_DEVICE void attend_tile(TileFma<kDims> /*shape*/, const TileInput& in) {
  using Shape = TileFma<kDims>;
  simt::SharedMemory memory;
  const TileFmaShared shared = take_tile_fma<Shape>(memory);
  TileFmaWork<Shape> work{in, shared};
  for_blocks_of_keys<Shape::kKeys>(in, shared.list, work);
  work.store();
}

/// Attention of a prompt's queries, over the keys that the cache held before the call and those of the call. It runs
/// before prefill_gather() overwrites slots. Grid: (tiles of queries, KV heads), kAttendThreads threads; a group of
/// more than kTileQueries takes several tiles side by side.
/// Threads: a block takes up to 64 queries of one KV head: all queries of the group, of neighbouring tokens. It looks
/// through the deaths of all earlier keys, gathers those that are alive at its first token, and takes them in blocks;
/// see prefill_mma.cuh and prefill_fma.cuh.
/// Bytes: for each tile, 4 for every earlier key, and keys and values of those alive, mostly from L2: neighbouring
/// blocks share them.
/// Bound: tensor cores, 2 head_dim (1 + parts of a weight) operations a query and key; else fp32 arithmetic.
/// Races: no block writes keys, values or deaths. Queries may lie where results go: a block reads its own queries
/// alone, before it writes their results.
/// Budget: 255 registers, no spills. 90 KiB of shared memory at most.
template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, Shape::kBlocks)
prefill_attend(HASHEVICT_GRID_CONSTANT PrefillParams p) {
  simt::wait_for_launch_before();
  PrefillRow row{};
  const QueryTile tile = tile_of_block(p, row);
  if (tile.count() == 0) return;
  const TileInput in = tile_input(p, row, tile);
  if (row.plan == Plan::refuse) {
    refuse_tile(in);
  } else {
    attend_tile(Shape{}, in);
  }
}

}  // namespace hashevict::kernels
