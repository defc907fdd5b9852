// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_fold.cuh"
#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/clocks.cuh"
#include "kernels/detail/head.cuh"

namespace hashevict::kernels {

/// One query token at one KV head, with the slots that the query may see.
struct AttendItem {
  int32_t token;
  int32_t kv_head;
  int32_t split;          ///< of the head; all of them from 0 on, where a block takes all
  int32_t first_split;    ///< of the head, among those of the layer
  int32_t split_bits;     ///< binary logarithm of the slots of a split
  int32_t sequence;       ///< -1: the block has no work
  bool refused;           ///< keys that the query must see have been evicted
  int32_t length;         ///< valid slots of the head
  int32_t last_position;  ///< slots of later positions are hidden from the query
  bool masked;            ///< some valid slots may hold later positions

  HASHEVICT_DEVICE int32_t num_splits() const { return core::splits_of(length, split_bits); }
};

/// The work of a block: a split, or a head with all its splits.
HASHEVICT_DEVICE AttendItem item_of(const AttendParams& p, int32_t block) {
  const Layer& layer = p.layer;
  const int32_t blocks = p.split != 0 ? layer.num_splits.value : layer.shape.num_kv_heads;
  core::Split split{block % blocks, 0};
  if (p.split != 0) split = simt::load(layer.state.splits + block % blocks);
  AttendItem item{block / blocks, split.kv_head, split.index, 0, 0, -1, false, 0, 0, false};
  const core::HeadSettings own = settings_of(layer, item.kv_head);
  item.first_split = own.first_split;
  item.split_bits = own.split_bits();
  const Row row = row_of_token(p.batch, item.token);
  if (row.sequence < 0) return item;
  const int32_t last = row.first_token + row.num_tokens - 1;
  const int64_t counter = counter_of(layer, row.sequence, item.kv_head);
  item.length = simt::load(layer.state.lengths + counter);
  const int32_t seen = simt::load(layer.state.tokens_seen + counter);
  if (!has_pages(layer, row.sequence, seen)) return item;
  item.sequence = row.sequence;
  item.refused = p.after == 0 && row.num_tokens > 1 && seen > layer.min_capacity;
  item.masked = p.after == 0 && item.token < last;
  item.last_position = seen - 1 - (last - item.token);
  return item;
}

/// One block's running merge over all splits of a head.
struct Running {
  simt::SharedArray<float> maxima;  ///< [2, kTile]: threads read one while they write the other
  simt::SharedArray<float> sums;    ///< [2, kTile]
  simt::SharedArray<float> values;  ///< [kTile, head_dim]: each thread reads and writes its own elements alone
};

/// The arrays of one block.
struct AttendArrays {
  AttendShared shared;
  Running running;
  FoldShared fold;
  simt::SharedArray<int32_t> is_last;
};

/// @param fifo_words as in attend_split_bytes()
template <int32_t kTile>
HASHEVICT_DEVICE AttendArrays take_attend_arrays(simt::SharedMemory& memory, int32_t head_dim, int32_t fifo_words) {
  const AttendShared shared = take_attend_shared<kTile>(memory, head_dim, fifo_words);
  const auto maxima = memory.take<float>(2 * kTile);
  const auto sums = memory.take<float>(2 * kTile);
  const auto values = memory.take<float>(kTile * head_dim);
  const FoldShared fold = take_fold_shared<kTile>(memory);
  return {shared, {maxima, sums, values}, fold, memory.take<int32_t>(1)};
}

template <int32_t kTile>
HASHEVICT_HOST_DEVICE constexpr int32_t attend_bytes(int32_t head_dim, int32_t fifo_words) {
  return attend_split_bytes<kTile>(head_dim, fifo_words) + 2 * simt::shared_bytes<float>(2 * kTile) +
         simt::shared_bytes<float>(kTile * head_dim) + fold_bytes<kTile>() + simt::shared_bytes<int32_t>(1);
}

/// The work of one block of attend().
template <class Shape>
struct AttendBlock {
  const AttendParams& p;
  AttendItem item;
  AttendShared shared;
  Running running;

  HASHEVICT_DEVICE int32_t first_query_head(int32_t tile) const {
    return item.kv_head * p.layer.shape.group_size + tile;
  }

  HASHEVICT_DEVICE void stage_tile(int32_t tile) const {
    stage_queries<Shape::kTile>(p.q, item.token, first_query_head(tile), p.layer.shape.group_size - tile,
                                p.layer.shape.head_dim, shared);
  }

  /// Calls `visitor(input, find_offset)` for a split.
  template <class Visitor>
  HASHEVICT_DEVICE void visit_split(int32_t split, const Visitor& visitor) const {
    const int32_t first_slot = split << item.split_bits;
    const VisibleSlots slots = visible();
    visitor(split_input(p.layer, p.softmax, first_slot, 1 << item.split_bits, item.length),
            [&](int32_t slot) { return slots.offset(first_slot + slot); });
  }

  /// Rebuilt for each use: a stored Head would cost registers.
  [[nodiscard]] HASHEVICT_DEVICE VisibleSlots visible() const {
    const Head head = head_of(p.layer, item.sequence, item.kv_head);
    return {head.address, item.length, item.masked ? head.positions : nullptr, item.last_position};
  }

  /// Number of queries in the tile that starts at query `tile` of the group.
  HASHEVICT_DEVICE int32_t queries(int32_t tile) const {
    const int32_t left = p.layer.shape.group_size - tile;
    return left < Shape::kTile ? left : Shape::kTile;
  }
};

/// A query whose keys were evicted has no result: its output becomes NaN, so that nobody takes it for one.
template <class Shape>
HASHEVICT_DEVICE void refuse(const AttendBlock<Shape>& block) {
  const PartialQuad nothing{kNotANumber, kNotANumber, {kNotANumber, kNotANumber, kNotANumber, kNotANumber}};
  for_quads(block.p.layer.shape.group_size, block.p.layer.shape.head_dim, [&](int32_t q, int32_t e) {
    store_results({block.p.out, block.p.lse}, block.item.token, block.first_query_head(q), e, nothing);
  });
}

/// Merges the result of a split into those of the splits before it; behind the last one, writes the results.
template <class Shape>
HASHEVICT_DEVICE void merge_split(const AttendBlock<Shape>& block, int32_t tile, int32_t split, int32_t num_splits) {
  const int32_t head_dim = block.p.layer.shape.head_dim;
  for_quads(block.queries(tile), head_dim, [&](int32_t q, int32_t e) {
    const int32_t i = q * head_dim + e;
    const int32_t old = split % 2 * Shape::kTile + q;
    PartialQuad all = empty_quad();
    if (split > 0) {
      all.maximum = block.running.maxima.load(old);
      all.sum = block.running.sums.load(old);
      block.running.values.load_many(i, all.values);
    }
    all = merge(all, split_partial<Shape::kTile>(block.shared, head_dim, q, e));
    if (split + 1 == num_splits) {
      store_results({block.p.out, block.p.lse}, block.item.token, block.first_query_head(tile + q), e, all);
      return;
    }
    block.running.values.store_many(i, all.values);
    if (e != 0) return;
    block.running.maxima.store((split + 1) % 2 * Shape::kTile + q, all.maximum);
    block.running.sums.store((split + 1) % 2 * Shape::kTile + q, all.sum);
  });
}

/// The last block of a head merges its splits. Begins behind a barrier.
template <class Shape>
HASHEVICT_DEVICE void merge_splits(const AttendBlock<Shape>& block, const HeadPartials& partials, int32_t num_splits,
                                   const FoldShared& fold) {
  const int32_t group_size = block.p.layer.shape.group_size;
  const int32_t head_dim = block.p.layer.shape.head_dim;
  for (int32_t tile = 0; tile < group_size; tile += Shape::kTile) {
    for (int32_t q = simt::warp(); q < block.queries(tile); q += kAttendWarps) {
      const bool has_split = simt::lane() < num_splits;
      const int64_t n = int64_t{simt::lane()} * group_size + tile + q;
      const float maximum = has_split ? simt::load_relaxed(partials.maxima + n) : kNegativeInfinity;
      const float sum = has_split ? simt::load_relaxed(partials.sums + n) : 0.0F;
      find_steps(fold, q, 0, kNegativeInfinity, maximum, sum);
    }
    simt::block_sync();
    for_quads(block.queries(tile), head_dim, [&](int32_t q, int32_t e) {
      const float* const values = partials.values + (tile + q) * head_dim + e;
      store_results({block.p.out, block.p.lse}, block.item.token, block.first_query_head(tile + q), e,
                    fold_splits(fold, q, values, int64_t{group_size} * head_dim, num_splits));
    });
    simt::block_sync();
  }
}

/// A block takes one split, and the last block of the head merges all of them; or one block runs through all splits.
/// @param start (split) is called before the first queries are staged, and before each further split
/// @param attend (split) attends over a split for the staged queries, whatever threads staged them
template <class Shape, class Start, class Attend>
HASHEVICT_DEVICE void attend_block(const AttendBlock<Shape>& block, bool alone, const FoldShared& fold,
                                   const simt::SharedArray<int32_t>& is_last, const Start& start,
                                   const Attend& attend) {
  const Layer& layer = block.p.layer;
  const int32_t num_splits = block.item.num_splits();
  const int32_t first = alone ? 0 : block.item.split;
  const int32_t end = alone ? num_splits : first + 1;
  const HeadPartials partials = partials_of(block.p.partials, layer, block.item.token, block.item.first_split);
  HASHEVICT_NO_UNROLL
  for (int32_t tile = 0; tile < layer.shape.group_size; tile += Shape::kTile) {
    HASHEVICT_NO_UNROLL
    for (int32_t split = first; split < end; ++split) {
      start(split);
      if (split == first) block.stage_tile(tile);
      mark(Phase::queries);
      attend(split);
      mark(Phase::rows);
      if (alone) {
        merge_split(block, tile, split, num_splits);
        continue;
      }
      for_quads(block.queries(tile), layer.shape.head_dim, [&](int32_t q, int32_t e) {
        store_partial(partials, int64_t{split} * layer.shape.group_size + tile + q, layer.shape.head_dim, e,
                      split_partial<Shape::kTile>(block.shared, layer.shape.head_dim, q, e));
      });
      mark(Phase::partial);
    }
  }
  if (alone) return;
  const int64_t ticket = int64_t{block.item.token} * layer.shape.num_kv_heads + block.item.kv_head;
  if (!is_last_block(layer.state.token_tickets + ticket, num_splits, is_last)) return;
  mark(Phase::ticket);
  merge_splits(block, partials, num_splits, fold);
  mark(Phase::merge);
}

/// Attention of query tokens over the slots of a layer. Grid: tokens x KV heads, times the splits of a full layer if
/// `split`; 128 threads.
/// Threads: a block takes one token, one head and one split, or all splits in turn; see attend_fifo.cuh,
/// attend_split.cuh, attend_mma.cuh and attend_fold.cuh. attend_bulk() does the same from sm_90 on, for most shapes and
/// aligned rows.
/// Bytes: keys and values of the splits in use, once for up to 8 queries of the group; 4 (2 + head_dim) a query and
/// split through L2.
/// Bound: memory.
/// Races: no block writes the layer's keys, values or positions. Blocks exchange partial results by relaxed accesses
/// around the head's ticket. The last block merges them in the order in which a single block runs through the splits,
/// so both ways give the same bits. Blocks whose split lies behind the end return.
/// Budget: kernels/budgets.txt; 67 KiB of shared memory at head_dim 128 and 8 queries, 48 of them rows on their way.
template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, Shape::kBlocks)
attend(HASHEVICT_GRID_CONSTANT AttendParams p) {
  simt::wait_for_launch_before();
  start_clock();
  const AttendItem item = item_of(p, simt::block_x());
  const int32_t num_splits = item.num_splits();
  if (item.sequence < 0 || item.split >= num_splits) return;
  mark(Phase::find);
  simt::SharedMemory memory;
  const AttendArrays arrays =
      take_attend_arrays<Shape::kTile>(memory, p.layer.shape.head_dim, FifoShape<Shape>::kWords);
  const AttendBlock<Shape> block{p, item, arrays.shared, arrays.running};
  if (item.refused) {
    if (item.split == 0) refuse(block);
    return;
  }
  RowFifo<Shape> fifo{arrays.shared.values, arrays.shared.offsets};
  attend_block(
      block, p.split == 0 || num_splits == 1, arrays.fold, arrays.is_last,
      [&](int32_t split) {
        block.visit_split(split, [&](const auto& input, const auto& find_offset) { fifo.start(input, find_offset); });
      },
      [&](int32_t split) {
        block.visit_split(split, [&](const auto& input, const auto& find_offset) {
          attend_split(fifo, input, arrays.shared, HeldOut{}, find_offset);
        });
      });
}

}  // namespace hashevict::kernels
