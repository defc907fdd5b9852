// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/attend_partials.cuh"
#include "kernels/detail/head.cuh"

namespace hashevict::kernels {

/// One query token and one KV head, and what it may see.
struct AttendItem {
  int32_t token;
  int32_t kv_head;
  int32_t sequence;       ///< -1: nothing is to be done
  int32_t length;         ///< valid slots
  int32_t last_position;  ///< slots of later positions are hidden
  bool masked;            ///< there may be such
};

HASHEVICT_DEVICE AttendItem item_of(const AttendParams& p, int32_t index) {
  AttendItem item{index / p.layer.num_kv_heads, index % p.layer.num_kv_heads, -1, 0, 0, false};
  const Row row = row_of_token(p.batch, item.token);
  if (row.sequence < 0) return item;
  const int32_t last = row.first_token + row.num_tokens - 1;
  item.sequence = row.sequence;
  item.length = simt::load_constant(p.layer.state.lengths + row.sequence);
  item.masked = item.token < last;
  item.last_position = simt::load_constant(p.layer.state.tokens_seen + row.sequence) - 1 - (last - item.token);
  return item;
}

/// Attention over several splits by one block, merged as they come.
struct Running {
  simt::SharedArray<float> maxima;  ///< [2, kTile]: one is read while the other is written
  simt::SharedArray<float> sums;    ///< [2, kTile]
  simt::SharedArray<float> values;  ///< [kTile, head_dim]: a thread's own
};

template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_bytes(int32_t head_dim) {
  return attend_split_bytes<kTile>(head_dim) + 2 * simt::shared_bytes<float>(2 * kTile) +
         simt::shared_bytes<float>(kTile * head_dim) + simt::shared_bytes<int32_t>(1);
}

/// What a block of attend() works with.
template <class Shape>
struct AttendBlock {
  const AttendParams& p;
  AttendItem item;
  AttendShared shared;
  Running running;

  HASHEVICT_DEVICE int32_t first_query_head(int32_t tile) const { return item.kv_head * p.layer.group_size + tile; }

  HASHEVICT_DEVICE void stage_tile(int32_t tile) const {
    stage_queries<Shape::kTile>(p.q, item.token, first_query_head(tile), p.layer.group_size - tile, p.layer.head_dim,
                                shared);
  }

  HASHEVICT_DEVICE void attend(int32_t split) const {
    const int32_t first_slot = split * kSplitSlots;
    const Head head = head_of(p.layer, item.sequence, item.kv_head);  // made anew: registers are short
    stage_offsets(head.address, first_slot, item.length, item.masked ? head.positions : nullptr, item.last_position,
                  shared);
    attend_split(Shape{}, split_input(p.layer, p.softmax, first_slot, item.length), shared, HeldOut{});
  }

  /// Queries of the tile that starts at query `tile` of the group.
  HASHEVICT_DEVICE int32_t queries(int32_t tile) const {
    const int32_t left = p.layer.group_size - tile;
    return left < Shape::kTile ? left : Shape::kTile;
  }
};

/// One block goes through all splits.
template <class Shape>
HASHEVICT_DEVICE void attend_alone(const AttendBlock<Shape>& block, int32_t num_splits) {
  const int32_t head_dim = block.p.layer.head_dim;
  for (int32_t tile = 0; tile < block.p.layer.group_size; tile += Shape::kTile) {
    block.stage_tile(tile);
    for (int32_t split = 0; split < num_splits; ++split) {
      block.attend(split);
      for_elements(block.queries(tile), head_dim, [&](int32_t q, int32_t e) {
        const int32_t i = q * head_dim + e;
        const int32_t old = split % 2 * Shape::kTile + q;
        Partial all = empty_partial();
        if (split > 0) {
          all = {block.running.maxima.load(old), block.running.sums.load(old), block.running.values.load(i)};
        }
        all = merge(all, split_partial<Shape::kTile>(block.shared, head_dim, q, e));
        if (split + 1 == num_splits) {
          store_result({block.p.out, block.p.lse}, block.item.token, block.first_query_head(tile + q), e, all);
          return;
        }
        block.running.values.store(i, all.value);
        if (e != 0) return;
        block.running.maxima.store((split + 1) % 2 * Shape::kTile + q, all.maximum);
        block.running.sums.store((split + 1) % 2 * Shape::kTile + q, all.sum);
      });
    }
  }
}

/// A block a split; the last of the head merges them.
template <class Shape>
HASHEVICT_DEVICE void attend_together(const AttendBlock<Shape>& block, int32_t split, int32_t num_splits,
                                      const simt::SharedArray<int32_t>& is_last) {
  const Layer& layer = block.p.layer;
  const HeadPartials partials = partials_of(block.p.partials, layer, block.item.token, block.item.kv_head);
  for (int32_t tile = 0; tile < layer.group_size; tile += Shape::kTile) {
    block.stage_tile(tile);
    block.attend(split);
    for_elements(block.queries(tile), layer.head_dim, [&](int32_t q, int32_t e) {
      store_partial(partials, split, tile + q, e, split_partial<Shape::kTile>(block.shared, layer.head_dim, q, e));
    });
  }
  const int64_t ticket = int64_t{block.item.token} * (layer.num_kv_heads + 1) + 1 + block.item.kv_head;
  if (!is_last_block(layer.state.tickets + ticket, num_splits, is_last)) return;
  for_elements(layer.group_size, layer.head_dim, [&](int32_t q, int32_t e) {
    store_result({block.p.out, block.p.lse}, block.item.token, block.first_query_head(q), e,
                 merge_partials(partials, num_splits, q, e));
  });
}

/// Query tokens over what a layer holds. Grid: tokens x KV heads, and if `split` x splits of a full layer; 128 threads.
/// Threads: a block has one token, one head and one split of 256 slots, or all splits in turn; see attend_split.cuh and
/// attend_mma.cuh.
/// Bytes: keys and values of the splits in use, once for up to 8 queries of the group; 4 (2 + head_dim) a query and
/// split through L2.
/// Bound: memory.
/// Races: none writes what a layer holds. Partial results are relaxed accesses around the head's ticket; its last block
/// merges them in order, as a block alone does, so that both ways give the same bits. Splits behind the end leave.
/// Budget: 168 registers up to 2 queries at a time, and on tensor cores up to head_dim 64; 255 else. No spills.
/// 28 KiB of shared memory at head_dim 128 and 8 queries.
template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, Shape::kBlocks)
attend(HASHEVICT_GRID_CONSTANT AttendParams p) {
  simt::wait_for_launch_before();
  const int32_t launched = p.split != 0 ? p.partials.num_splits : 1;
  const int32_t split = simt::block_x() % launched;
  const AttendItem item = item_of(p, simt::block_x() / launched);
  const int32_t num_splits = splits_of(item.length);
  if (item.sequence < 0 || split >= num_splits) return;
  const int32_t head_dim = p.layer.head_dim;
  simt::SharedMemory memory;
  const AttendShared shared = take_attend_shared<Shape::kTile>(memory, head_dim);
  const auto maxima = memory.take<float>(2 * Shape::kTile);
  const auto sums = memory.take<float>(2 * Shape::kTile);
  const auto values = memory.take<float>(Shape::kTile * head_dim);
  const auto is_last = memory.take<int32_t>(1);
  const AttendBlock<Shape> block{p, item, shared, {maxima, sums, values}};
  if (launched == 1 || num_splits == 1) {
    attend_alone(block, num_splits);
  } else {
    attend_together(block, split, num_splits, is_last);
  }
}

}  // namespace hashevict::kernels
