// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/decode_finish.cuh"

namespace hashevict::kernels {

/// Blocks per multiprocessor that the kernel is compiled for. Room for a third block would make tiles of four queries
/// spill around the calls.
template <int32_t kTile>
inline constexpr int32_t kDecodeBlocks = kTile >= 4 ? 2 : 3;

template <int32_t kTile>
int32_t decode_bytes(const Layer& layer) {
  return decode_shared_bytes(layer) + attend_split_bytes<kTile>(layer.shape.head_dim);
}

/// Attention of a tile of the group's queries over one split, without the candidate; the candidate's logits are written
/// separately. Not inlined into the kernel, which needs its registers for itself: each tile size has one kernel but
/// many instances of this function.
template <class Shape>
HASHEVICT_NOINLINE void attend_tile(const DecodeParams& p, DecodeItem item, int32_t split, int32_t tile,
                                    int32_t candidate) {
  const Layer& layer = p.evict.layer;
  simt::SharedMemory memory;
  take_step_shared(memory, layer);
  take_decode_shared(memory, layer);
  const AttendShared shared = take_attend_shared<Shape::kTile>(memory, layer.shape.head_dim);
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.first_split);
  const int32_t first_slot = split * kSplitSlots;
  const int32_t left = layer.shape.group_size - tile;
  const int32_t queries = left < Shape::kTile ? left : Shape::kTile;
  const HeldOut held_out{candidate < 0 ? -1 : candidate - first_slot,
                         partials.logits + int64_t{split} * layer.shape.group_size + tile, queries};
  stage_offsets(head_of(layer, item.sequence, item.kv_head).address, first_slot, length_before(item), nullptr, 0,
                shared);
  stage_queries<Shape::kTile>(p.evict.q, item.token, item.kv_head * layer.shape.group_size + tile, queries,
                              layer.shape.head_dim, shared);
  attend_split(Shape{}, split_input(layer, p.softmax, first_slot, length_before(item)), shared, held_out);
  for_elements(queries, layer.shape.head_dim, [&](int32_t q, int32_t e) {
    store_partial(partials, split, tile + q, e, split_partial<Shape::kTile>(shared, layer.shape.head_dim, q, e));
  });
}

/// Finds the candidate of one split, then attends over the other slots.
template <class Tile>
HASHEVICT_DEVICE void decode_split(const DecodeParams& p, const DecodeItem& item, int32_t split) {
  const Layer& layer = p.evict.layer;
  const Candidate candidate = visit_bits(
      layer.rule.hash_bits, [&](auto bits) { return find_candidate<decltype(bits)::value>(p.evict, item, split); });
  if (simt::thread_index() == 0) {
    const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.first_split);
    simt::store_relaxed(partials.keys + split, candidate.key);
    simt::store_relaxed(partials.slots + split, candidate.slot);
  }
  for (int32_t tile = 0; tile < layer.shape.group_size; tile += Tile::kQueries) {
    visit_rows<Tile::kQueries, Tile::kMma>(layer.shape.format.dtype, layer.shape.head_dim, [&](auto shape) {
      attend_tile<decltype(shape)>(p, item, split, tile, candidate.slot);
    });
  }
}

/// One block takes the tokens of a row in order, each through all splits. The results have the same bits as those of
/// one block per split.
template <class Tile>
HASHEVICT_DEVICE void decode_row(const DecodeParams& p, DecodeItem item, int32_t num_tokens) {
  for (int32_t i = 0; i < num_tokens; ++i, ++item.token, ++item.position) {
    const int32_t num_splits = splits_of(length_before(item));
    for (int32_t split = 0; split < num_splits; ++split) decode_split<Tile>(p, item, split);
    finish_token(p, item, num_splits);
  }
}

/// Eviction and attention in one launch. Grid: rows x the splits of all KV heads of a layer, as construction listed
/// them; 128 threads. A block takes one split of 256 slots: it encodes the token, scans the codes of its slots for a
/// candidate, and attends over the other slots (attend_split.cuh). The last block of the head picks the victim among
/// the candidates, merges the splits in order, adds the candidates that stay and the new token, and only then
/// overwrites the victim's slot. Bytes: keys, values, codes and positions of the valid slots once; G (2 + head_dim)
/// floats a split through L2. Bound: memory, after the latency of head_dim dependent fma of the code. Races: until the
/// head's last ticket its blocks only read the head's state, except the accumulators, of which each block writes those
/// of its own slots. After that ticket only the last block is left, so nobody reads the slot that it overwrites. Blocks
/// behind the end also read the head's counter: they and the head's last block take a second ticket, and the last of
/// these moves the counters on. Heads share nothing. A row of several tokens is taken by the first block of each head,
/// which alone reads the counter; the other blocks leave. Budget: 168 registers up to 2 queries at a time, 255 above,
/// no spills; 33 KiB of shared memory at head_dim 128 and 8 queries.
template <class Tile>
HASHEVICT_KERNEL(kAttendThreads, kDecodeBlocks<Tile::kQueries>)
decode(HASHEVICT_GRID_CONSTANT DecodeParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const core::Split split = simt::load(layer.state.splits + simt::block_x() % layer.num_splits);
  const core::HeadSettings own = settings_of(layer, split.kv_head);
  const Row row = row_of(p.evict.batch, simt::block_x() / layer.num_splits);
  if (row.sequence < 0 || row.num_tokens == 0 || (row.num_tokens > 1 && split.index > 0)) return;
  const int32_t before = simt::load_relaxed(layer.state.tokens_seen + counter_of(layer, row.sequence, split.kv_head));
  if (!has_pages_for(layer, row.sequence, before, row.num_tokens)) return;
  const DecodeItem item{row.sequence, split.kv_head, row.first_token, before, own.capacity, own.first_split};
  const int32_t num_splits = splits_of(length_before(item));
  int32_t tickets = 1;
  if (row.num_tokens > 1) {
    decode_row<Tile>(p, item, row.num_tokens);
  } else {
    tickets += own.num_splits() - num_splits;
    if (split.index < num_splits) {
      decode_split<Tile>(p, item, split.index);
      simt::SharedMemory memory;
      take_step_shared(memory, layer);
      const DecodeShared shared = take_decode_shared(memory, layer);
      const int64_t ticket = 2 * counter_of(layer, item.sequence, item.kv_head);
      if (!is_last_block(layer.state.tickets + ticket, num_splits, shared.is_last)) return;
      finish_token(p, item, num_splits);
    } else {
      simt::block_sync();
    }
  }
  if (simt::thread_index() != 0) return;
  if (tickets > 1 && !is_last_to_count(layer, item.sequence, item.kv_head, tickets)) return;
  count_tokens(layer, item.sequence, item.kv_head, before + row.num_tokens, item.capacity);
}

}  // namespace hashevict::kernels
