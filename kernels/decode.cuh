// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/decode_finish.cuh"

namespace hashevict::kernels {

/// Blocks that a multiprocessor is to have room for: with a third one, four queries would spill around the calls.
template <int32_t kTile>
inline constexpr int32_t kDecodeBlocks = kTile >= 4 ? 2 : 3;

template <int32_t kTile>
int32_t decode_bytes(const Layer& layer) {
  return decode_shared_bytes(layer) + attend_split_bytes<kTile>(layer.head_dim);
}

/// Attention of a tile of the group's queries over one split without the candidate, whose logits are told. Apart from
/// the kernel, which needs its registers for itself: a tile size has one kernel and many of these.
template <class Shape>
HASHEVICT_NOINLINE void attend_tile(const DecodeParams& p, DecodeItem item, int32_t split, int32_t tile,
                                    int32_t candidate) {
  const Layer& layer = p.evict.layer;
  simt::SharedMemory memory;
  take_step_shared(memory, layer);
  take_decode_shared(memory, layer);
  const AttendShared shared = take_attend_shared<Shape::kTile>(memory, layer.head_dim);
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.kv_head);
  const int32_t first_slot = split * kSplitSlots;
  const int32_t left = layer.group_size - tile;
  const int32_t queries = left < Shape::kTile ? left : Shape::kTile;
  const HeldOut held_out{candidate < 0 ? -1 : candidate - first_slot,
                         partials.logits + int64_t{split} * layer.group_size + tile, queries};
  stage_offsets(head_of(layer, item.sequence, item.kv_head).address, first_slot, length_before(layer, item), nullptr, 0,
                shared);
  stage_queries<Shape::kTile>(p.evict.q, item.token, item.kv_head * layer.group_size + tile, queries, layer.head_dim,
                              shared);
  attend_split(Shape{}, split_input(layer, p.softmax, first_slot, length_before(layer, item)), shared, held_out);
  for_elements(queries, layer.head_dim, [&](int32_t q, int32_t e) {
    store_partial(partials, split, tile + q, e, split_partial<Shape::kTile>(shared, layer.head_dim, q, e));
  });
}

/// One split of a head: its candidate, and attention over the rest of its slots.
template <class Tile>
HASHEVICT_DEVICE void decode_split(const DecodeParams& p, const DecodeItem& item, int32_t split) {
  const Layer& layer = p.evict.layer;
  const Candidate candidate = visit_bits(
      layer.facts.hash_bits, [&](auto bits) { return find_candidate<decltype(bits)::value>(p.evict, item, split); });
  if (simt::thread_index() == 0) {
    const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.kv_head);
    simt::store_relaxed(partials.keys + split, candidate.key);
    simt::store_relaxed(partials.slots + split, candidate.slot);
  }
  for (int32_t tile = 0; tile < layer.group_size; tile += Tile::kQueries) {
    visit_rows<Tile::kQueries, Tile::kMma>(layer.kv.dtype, layer.head_dim, [&](auto shape) {
      attend_tile<decltype(shape)>(p, item, split, tile, candidate.slot);
    });
  }
}

/// Tokens of a row one after the other, each through all splits: by one block, and with the same bits.
template <class Tile>
HASHEVICT_DEVICE void decode_row(const DecodeParams& p, DecodeItem item, int32_t num_tokens) {
  for (int32_t i = 0; i < num_tokens; ++i, ++item.token, ++item.position) {
    const int32_t num_splits = splits_of(length_before(p.evict.layer, item));
    for (int32_t split = 0; split < num_splits; ++split) decode_split<Tile>(p, item, split);
    finish_token(p, item, num_splits);
  }
}

/// Eviction and attention in one launch. Grid: rows x KV heads x splits of a full layer; 128 threads: a block has 256
/// slots. Each encodes the token, scans the codes of its own slots for a candidate, and attends over the others
/// (attend_split.cuh). The last block of the head takes the best candidate for the victim, merges the splits in order,
/// adds the candidates that stay and the new token, and only then overwrites the victim's slot.
/// Bytes: keys, values, codes and positions of the valid slots once; G (2 + head_dim) floats a split through L2.
/// Bound: memory, after the latency of head_dim dependent fma of the code.
/// Races: until the head's last ticket its blocks only read what the head holds, but for accumulators, each its own
/// slots'; afterwards its last block alone is left, so the slot that it overwrites is read by nobody any more. Blocks
/// behind the end read the sequence's length, too: they and each head's last block take the sequence's ticket, whose
/// last one moves the length on. A row of several tokens is the affair of its head's first block; the others leave.
/// Budget: 168 registers up to 2 queries at a time, 255 above, no spills; 33 KiB of shared memory at
/// head_dim 128 and 8 queries.
template <class Tile>
HASHEVICT_KERNEL(kAttendThreads, kDecodeBlocks<Tile::kQueries>)
decode(HASHEVICT_GRID_CONSTANT DecodeParams p) {
  simt::wait_for_launch_before();
  const Layer& layer = p.evict.layer;
  const int32_t launched = p.partials.num_splits;
  const int32_t split = simt::block_x() % launched;
  const int32_t kv_head = simt::block_x() / launched % layer.num_kv_heads;
  const Row row = row_of(p.evict.batch, simt::block_x() / launched / layer.num_kv_heads);
  if (row.sequence < 0 || row.num_tokens == 0 || (row.num_tokens > 1 && split > 0)) return;
  const int32_t before = simt::load_relaxed(layer.state.tokens_seen + row.sequence);
  const DecodeItem item{row.sequence, kv_head, row.first_token, before};
  const int32_t num_splits = splits_of(length_before(layer, item));
  int32_t tickets = layer.num_kv_heads;
  if (row.num_tokens > 1) {
    decode_row<Tile>(p, item, row.num_tokens);
  } else {
    tickets *= 1 + launched - num_splits;
    if (split < num_splits) {
      decode_split<Tile>(p, item, split);
      simt::SharedMemory memory;
      take_step_shared(memory, layer);
      const DecodeShared own = take_decode_shared(memory, layer);
      const int64_t ticket = int64_t{row.sequence} * (layer.num_kv_heads + 1) + 1 + kv_head;
      if (!is_last_block(layer.state.tickets + ticket, num_splits, own.is_last)) return;
      finish_token(p, item, num_splits);
    } else {
      simt::block_sync();
    }
  }
  if (simt::thread_index() == 0) count_tokens(layer, row.sequence, before + row.num_tokens, tickets);
}

}  // namespace hashevict::kernels
