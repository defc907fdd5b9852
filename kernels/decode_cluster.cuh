// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/decode_merge.cuh"

namespace hashevict::kernels {

/// The most splits of a head of the layer, or more: a short head may have more than the longest.
HASHEVICT_HOST_DEVICE inline int32_t most_splits(const Layer& layer) {
  const int32_t splits = core::splits_of(layer.max_capacity, core::kSplitBits);
  return splits < kMostSplits ? splits : kMostSplits;
}

/// Slots that a thread scans at a time: half of its share of the longest splits that are common, 1024 slots.
inline constexpr int32_t kScannedOfCluster = 4;

/// Numbers that hold the results of a split's warps, and later the factors of the merge.
template <class Shape>
HASHEVICT_HOST_DEVICE constexpr int32_t warp_values(int32_t head_dim) {
  const int32_t values = kAttendWarps * Shape::kTile * head_dim;
  const int32_t factors = Shape::kTile * kFoldParts * kFoldNumbers;
  return values > factors ? values : factors;
}

template <class Shape>
int32_t decode_cluster_bytes(const Layer& layer, int32_t cluster_size) {
  const int32_t head_dim = layer.shape.head_dim;
  int32_t log_size = 0;
  while (1 << log_size < cluster_size) ++log_size;
  const int32_t share = share_elements(head_dim, log_size);
  return SharedHead::bytes() + step_bytes(layer) + cluster_shared_bytes<Shape>(share, most_splits(layer)) +
         simt::shared_bytes<float>(Shape::kTile * head_dim) +
         2 * simt::shared_bytes<float>(kAttendWarps * Shape::kTile) +
         simt::shared_bytes<float>(warp_values<Shape>(head_dim)) + RingShape<Shape>::bytes(head_dim);
}

/// One block of decode_cluster().
template <class Shape>
struct ClusterBlock {
  const DecodeParams& p;
  DecodeItem item;
  SharedHead record;
  StepShared step;
  ClusterShared shared;
  AttendShared attend;
  FoldShared factors;
  Ring<Shape> ring;
  int32_t phase;  ///< tiles of queries whose results were exchanged before

  [[nodiscard]] HASHEVICT_DEVICE const Layer& layer() const { return p.evict.layer; }
  [[nodiscard]] HASHEVICT_DEVICE Head head() const { return record.load(layer()); }
  [[nodiscard]] HASHEVICT_DEVICE int32_t tiles() const {
    return (layer().shape.group_size + Shape::kTile - 1) / Shape::kTile;
  }
  /// Queries of a tile.
  [[nodiscard]] HASHEVICT_DEVICE int32_t queries(int32_t tile) const {
    const int32_t left = layer().shape.group_size - tile * Shape::kTile;
    return left < Shape::kTile ? left : Shape::kTile;
  }
  [[nodiscard]] HASHEVICT_DEVICE RingRows rows() const {
    const int32_t num_splits = item.length() == 0 ? 0 : item.num_splits();
    return {head().address,       item.length(),        item.split_bits, num_splits,
            simt::cluster_rank(), simt::cluster_size(), tiles()};
  }
};

template <class Shape>
HASHEVICT_DEVICE ClusterBlock<Shape> take_cluster_block(const DecodeParams& p, const DecodeItem& item) {
  simt::SharedMemory memory;
  const Layer& layer = p.evict.layer;
  const int32_t head_dim = layer.shape.head_dim;
  const SharedHead record{memory};  // arrays of constant extent first: their addresses are constant, too
  const auto maxima = memory.take<float>(kAttendWarps * Shape::kTile);
  const auto sums = memory.take<float>(kAttendWarps * Shape::kTile);
  const auto offsets = memory.take<int64_t>(0);
  const int32_t share = share_elements(head_dim, log_cluster_size());
  const ClusterShared shared = take_cluster_shared<Shape>(memory, share, most_splits(layer));
  const StepShared step = take_step_shared(memory, layer);
  const auto queries = memory.take<float>(Shape::kTile * head_dim);
  const auto values = memory.take<float>(warp_values<Shape>(head_dim));
  const AttendShared attend{queries, offsets, maxima, sums, values};
  return {p, item, record, step, shared, attend, {values}, Ring<Shape>{memory, head_dim}, 0};
}

/// Scans the block's splits and pushes their candidates to all blocks, which are known to run.
template <class Shape>
HASHEVICT_DEVICE void give_candidates(const ClusterBlock<Shape>& block) {
  const Head head = block.head();
  const bool pushes = simt::thread_index() < simt::cluster_size();  // to the block of its number
  int32_t bytes = 0;
  HASHEVICT_NO_UNROLL
  for (int32_t split = simt::cluster_rank(); split < block.item.num_splits(); split += simt::cluster_size()) {
    const Candidate candidate =
        find_candidate<kScannedOfCluster>(block.p.evict, head, block.item, split, block.step, block.shared.warps);
    if (pushes) block.shared.push_candidate(simt::thread_index(), split, candidate);
    bytes += kPushed * static_cast<int32_t>(sizeof(uint32_t));
    simt::block_sync();  // the warps' candidates of the next split go to the same place
  }
  if (pushes) block.shared.barriers.arrive_at(simt::thread_index(), kCandidates, bytes);
}

template <class Shape>
HASHEVICT_DEVICE void stage_tile(const ClusterBlock<Shape>& block, int32_t tile) {
  const Layer& layer = block.layer();
  const int32_t first_head = block.item.kv_head * layer.shape.group_size + tile * Shape::kTile;
  stage_queries<Shape::kTile>(block.p.evict.q, block.item.token, first_head, block.queries(tile), layer.shape.head_dim,
                              block.attend);
}

/// Attends over the block's splits for a tile, but for their candidates, and pushes the results. The queries are
/// staged.
template <class Shape>
HASHEVICT_DEVICE void attend_own_splits(ClusterBlock<Shape>& block, const RingRows& rows, int32_t tile) {
  const Layer& layer = block.layer();
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t queries = block.queries(tile);
  const int32_t rank = simt::thread_index();
  if (rank < simt::cluster_size()) {
    block.shared.barriers.arrive_at(rank, kResults, pushed_bytes(rank, block.item.num_splits(), queries, head_dim));
  }
  HASHEVICT_NO_UNROLL
  for (int32_t split = rows.first; split < block.item.num_splits(); split += rows.step) {
    const int32_t candidate = block.shared.candidate(split).slot;
    const int32_t held_out = candidate < 0 ? -1 : candidate - (split << rows.split_bits);
    attend_ring(block.ring, layer, rows, block.p.softmax, rows.slots_of(split), held_out,
                SharedLogits{block.shared.logits, 0, queries}, block.attend);
    for_quads(queries, head_dim, [&](int32_t q, int32_t e) {
      push_partial<Shape>(block.shared, split, q, head_dim, e,
                          split_partial<Shape::kTile>(block.attend, head_dim, q, e),
                          candidate < 0 ? 0.0F : block.shared.logits.load(q));
    });
    simt::block_sync();  // what comes next goes to the same place
  }
}

HASHEVICT_DEVICE void sync_cluster() {
  simt::cluster_arrive();
  simt::cluster_wait();
}

/// One token: chooses the slot, attends, writes the results. Until a block has all results of the last tile, nobody
/// changes the head's state, except accumulators, of which each block writes those of its own slots.
/// @return the token's slot
template <class Shape>
HASHEVICT_DEVICE int32_t decode_in_cluster(ClusterBlock<Shape>& block, int32_t index) {
  const Layer& layer = block.layer();
  const RingRows rows = block.rows();
  block.ring.start(layer, rows);
  encode_step(block.p.evict, block.record, block.item, block.step);
  mark(Phase::encode);
  if (index == 0) simt::cluster_wait();  // all blocks run, and their mbarriers are ready
  give_candidates(block);
  mark(Phase::scan);
  // The running sums are read by all blocks, and written by one that has their results.
  if (layer.rule.facts.needs_key_sums && simt::thread_index() < simt::cluster_size()) simt::thread_fence();
  Choice choice{};
  HASHEVICT_NO_UNROLL
  for (int32_t tile = 0; tile < block.tiles(); ++tile, ++block.phase) {
    if (tile > 0) sync_cluster();  // all blocks have merged the tile before
    stage_tile(block, tile);
    if (tile == 0) {
      block.shared.barriers.wait_for_cluster(kCandidates, static_cast<uint32_t>(index) % 2);
      choice = choose(block.item, block.head().num_sink_tokens, block.shared);
      if (block.item.is_full()) {
        stage_losers_of_share<Shape>(layer, rows.address, block.item, choice, block.shared);
      }
      mark(Phase::candidates);
    }
    simt::block_sync();
    attend_own_splits(block, rows, tile);
    mark(Phase::rows);
    merge_share<Shape>(block.p, block.item, choice, tile * Shape::kTile, block.queries(tile),
                       static_cast<uint32_t>(block.phase) % 2, block.step, block.shared, block.attend, block.factors);
  }
  mark(Phase::merge);
  return choice.slot;
}

/// Takes part in the exchanges of a row that is skipped: blocks disagree on that only if two rows name one sequence.
template <class Shape>
HASHEVICT_DEVICE void skip_row(const ClusterBlock<Shape>& block, int32_t num_tokens) {
  int32_t phase = 0;
  HASHEVICT_NO_UNROLL
  for (int32_t token = 0; token < num_tokens; ++token) {
    HASHEVICT_NO_UNROLL
    for (int32_t i = 0; i <= block.tiles(); ++i) {  // the candidates, then the results of each tile
      if (i != 1 && token + i > 0) sync_cluster();
      if (token + i == 0) simt::cluster_wait();
      const Exchange exchange = i == 0 ? kCandidates : kResults;
      const int32_t number = i == 0 ? token : phase++;
      if (simt::thread_index() < simt::cluster_size()) {
        block.shared.barriers.arrive_at(simt::thread_index(), exchange, 0);
      }
      block.shared.barriers.wait_for_cluster(exchange, static_cast<uint32_t>(number) % 2);
    }
  }
}

/// Eviction and attention in one launch, for devices with clusters and rows that are aligned to 16 bytes; decode() does
/// the rest. Grid: rows x KV heads, a cluster each; 128 threads. A block takes every cluster_size-th split of the head.
/// Its keys and values are on their way (attend_ring.cuh) while it encodes the token and scans its codes. The blocks
/// push their candidates to each other, so all know the victim before the softmax; then each attends over its splits,
/// pushes the results, and merges its share of the outputs (decode_merge.cuh). No ticket, and nothing in global memory
/// but the results; one barrier of the cluster says that all blocks run, and no other is needed for one token of one
/// tile of queries. Bytes: keys, values, codes and positions of the valid slots once. Bound: memory. Races: the slots
/// of a split are read and written by its block alone, so this block overwrites the token's slot. Counters are read
/// before the first barrier of the cluster and moved on by block 0 behind it. Blocks take all tokens of a row in turn,
/// with a barrier of the cluster behind each. Where two rows name one sequence, blocks of a cluster may read different
/// counters, but always pass the same barriers and exchanges. Budget: kernels/budgets.txt; 111 KiB of shared memory at
/// head_dim 128, 8 queries and 4 splits a block.
template <class Shape>
HASHEVICT_DEVICE void decode_with_cluster(const DecodeParams& p) {
  const Layer& layer = p.evict.layer;
  const uint32_t cluster = static_cast<uint32_t>(simt::block_x()) >> log_cluster_size();
  const auto number = static_cast<int32_t>(cluster / static_cast<uint32_t>(layer.shape.num_kv_heads));
  const int32_t kv_head = static_cast<int32_t>(cluster) - number * layer.shape.num_kv_heads;
  const Row row = row_of(p.evict.batch, number);
  if (row.sequence < 0 || row.num_tokens == 0) return;
  const int32_t capacity = settings_of(layer, kv_head).capacity;
  const int32_t before = simt::load_relaxed(layer.state.tokens_seen + counter_of(layer, row.sequence, kv_head));
  // Its first split is not needed, since no workspace is.
  const DecodeItem item{row.sequence, kv_head, row.first_token, before, capacity, 0, core::split_bits_of(capacity)};
  ClusterBlock<Shape> block = take_cluster_block<Shape>(p, item);
  if (simt::thread_index() == 0) {
    block.ring.init();
    block.shared.init();
  }
  block.record.find(p.heads, layer, row.sequence, kv_head);
  simt::block_sync();
  simt::cluster_arrive();
  mark(Phase::find);
  if (!has_pages_for(layer, row.sequence, before, row.num_tokens)) return skip_row(block, row.num_tokens);
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < row.num_tokens; ++i, ++block.item.token, ++block.item.position) {
    const int32_t slot = decode_in_cluster(block, i);
    if (((slot >> item.split_bits) & (simt::cluster_size() - 1)) == simt::cluster_rank()) {
      overwrite(p.evict, block.head(), block.item, slot, block.step);
    }
    if (i + 1 == row.num_tokens) break;
    simt::fence_bulk_copies();
    sync_cluster();
  }
  if (simt::cluster_rank() > 0 || simt::thread_index() > 0) return;
  count_tokens(layer, row.sequence, kv_head, before + row.num_tokens, capacity);
}

template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, 2)
decode_cluster(HASHEVICT_GRID_CONSTANT DecodeParams p) {
  simt::wait_for_launch_before();
  start_clock();
  if constexpr (simt::kHasClusters) decode_with_cluster<Shape>(p);
}

}  // namespace hashevict::kernels
