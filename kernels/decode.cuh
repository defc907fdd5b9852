// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/clocks.cuh"
#include "kernels/detail/decode_finish.cuh"

namespace hashevict::kernels {

template <class Shape>
int32_t decode_bytes(const Layer& layer) {
  const int32_t head_dim = layer.shape.head_dim;
  return SharedHead::bytes() + step_bytes(layer) + decode_shared_bytes<Shape>(head_dim) +
         attend_split_bytes<Shape::kTile>(head_dim, FifoShape<Shape>::kWords);
}

/// The arrays of one block of decode().
struct DecodeArrays {
  SharedHead head;
  StepShared step;
  DecodeShared finish;
  AttendShared attend;
};

template <class Shape>
HASHEVICT_DEVICE DecodeArrays take_decode_arrays(const Layer& layer) {
  simt::SharedMemory memory;
  const SharedHead head{memory};
  const DecodeShared finish = take_decode_shared<Shape>(memory, layer.shape.head_dim);
  const StepShared step = take_step_shared(memory, layer);
  return {head, step, finish, take_attend_shared<Shape::kTile>(memory, layer.shape.head_dim, FifoShape<Shape>::kWords)};
}

/// Finds the candidate of one split and leaves it for the head's last block.
HASHEVICT_DEVICE Candidate give_candidate(const DecodeParams& p, const DecodeItem& item, int32_t split,
                                          const HeadPartials& partials, const SharedHead& head, const StepShared& step,
                                          const WarpCandidates& warps) {
  encode_step(p.evict, head, item, step);
  mark(Phase::encode);
  const Candidate candidate =
      find_candidate<kScannedOfSplit>(p.evict, head.load(p.evict.layer), item, split, step, warps);
  mark(Phase::scan);
  if (simt::thread_index() == 0) {
    simt::store_relaxed(partials.keys + split, candidate.key);
    simt::store_relaxed(partials.slots + split, candidate.slot);
  }
  return candidate;
}

/// Attends over one split but for its candidate, whose logits are written separately. The first rows are on their way
/// while the candidate is found: whether its value counts matters only when it is used.
template <class Shape>
HASHEVICT_DEVICE void decode_split(const DecodeParams& p, const DecodeItem& item, int32_t split,
                                   const DecodeArrays& arrays) {
  const Layer& layer = p.evict.layer;
  const int32_t group_size = layer.shape.group_size;
  const HeadPartials partials = partials_of(p.partials, layer, item.sequence, item.first_split);
  const int32_t first_slot = split << item.split_bits;
  // The split's input is rebuilt for each use: it would cost registers while the candidate is found.
  const auto visit_split = [&](const auto& visitor) {
    const VisibleSlots visible{arrays.head.load(layer).address, item.length(), nullptr, 0};
    visitor(split_input(layer, p.softmax, first_slot, 1 << item.split_bits, item.length()),
            [&](int32_t slot) { return visible.offset(first_slot + slot); });
  };
  RowFifo<Shape> fifo{arrays.attend.values, arrays.attend.offsets};
  Candidate candidate{0, -1};
  HASHEVICT_NO_UNROLL
  for (int32_t tile = 0; tile < group_size; tile += Shape::kTile) {
    visit_split([&](const SplitInput& input, const auto& find_offset) { fifo.start(input, find_offset); });
    if (tile == 0)
      candidate = give_candidate(p, item, split, partials, arrays.head, arrays.step, arrays.finish.candidates);
    const int32_t queries = group_size - tile < Shape::kTile ? group_size - tile : Shape::kTile;
    const int64_t first_query = int64_t{split} * group_size + tile;
    stage_queries<Shape::kTile>(p.evict.q, item.token, item.kv_head * group_size + tile, queries, layer.shape.head_dim,
                                arrays.attend);
    const HeldOut held_out{candidate.slot < 0 ? -1 : candidate.slot - first_slot, partials.logits + first_query,
                           queries};
    visit_split([&](const SplitInput& input, const auto& find_offset) {
      attend_split(fifo, input, arrays.attend, held_out, find_offset);
    });
    mark(Phase::rows);
    for_quads(queries, layer.shape.head_dim, [&](int32_t q, int32_t e) {
      store_partial(partials, first_query + q, layer.shape.head_dim, e,
                    split_partial<Shape::kTile>(arrays.attend, layer.shape.head_dim, q, e));
    });
    mark(Phase::partial);
  }
}

/// Eviction and attention in one launch. Grid: rows x the splits of all KV heads of a layer, as construction listed
/// them; 128 threads. A block takes one split: it starts to copy rows to shared memory (attend_fifo.cuh), encodes the
/// token, scans the codes of its slots for a candidate, and attends over the other slots (attend_split.cuh,
/// attend_mma.cuh). The last block of the head picks the victim among the candidates, merges the splits in order, adds
/// the candidates that stay and the new token (decode_finish.cuh), and only then overwrites the victim's slot. Bytes:
/// keys, values, codes and positions of the valid slots once; G (2 + head_dim) floats a split through L2. Bound:
/// memory, after the latency of head_dim dependent fma of the code. Races: until the head's last ticket its blocks only
/// read the head's state, by copies that they wait for before they take it, except the accumulators, of which each
/// block writes those of its own slots. After that ticket only the last block is left, so nobody reads the slot that it
/// overwrites. Blocks behind the end also read the head's counter: they and the head's last block take a second ticket,
/// and the last of these moves the counters on. Heads share nothing. A row of several tokens is taken by the first
/// block of each head, which alone reads the counter and takes all splits in turn, with the same bits; the other blocks
/// leave. Budget: kernels/budgets.txt; 76 KiB of shared memory at head_dim 128 and 8 queries, 48 of them rows on their
/// way.
template <class Shape>
HASHEVICT_KERNEL(kAttendThreads, Shape::kBlocks)
decode(HASHEVICT_GRID_CONSTANT DecodeParams p) {
  simt::wait_for_launch_before();
  start_clock();
  const Layer& layer = p.evict.layer;
  const int32_t row_index = layer.num_splits.divide(simt::block_x());
  const core::Split split = simt::load(layer.state.splits + (simt::block_x() - row_index * layer.num_splits.value));
  const core::HeadSettings own = settings_of(layer, split.kv_head);
  const Row row = row_of(p.evict.batch, row_index);
  if (row.sequence < 0 || row.num_tokens == 0 || (row.num_tokens > 1 && split.index > 0)) return;
  const int32_t before = simt::load_relaxed(layer.state.tokens_seen + counter_of(layer, row.sequence, split.kv_head));
  if (!has_pages_for(layer, row.sequence, before, row.num_tokens)) return;
  DecodeItem item{row.sequence, split.kv_head,   row.first_token, before,
                  own.capacity, own.first_split, own.split_bits()};
  const DecodeArrays arrays = take_decode_arrays<Shape>(layer);
  arrays.head.find(p.heads, layer, row.sequence, split.kv_head);
  simt::block_sync();
  mark(Phase::find);
  const bool alone = row.num_tokens > 1;
  int32_t tickets = 1;
  HASHEVICT_NO_UNROLL
  for (int32_t i = 0; i < row.num_tokens; ++i, ++item.token, ++item.position) {
    const int32_t num_splits = item.num_splits();
    const int32_t end = alone || split.index >= num_splits ? num_splits : split.index + 1;
    HASHEVICT_NO_UNROLL
    for (int32_t s = split.index; s < end; ++s) decode_split<Shape>(p, item, s, arrays);
    if (!alone) {
      tickets += own.num_splits() - num_splits;
      if (split.index >= num_splits) {
        simt::block_sync();
        break;
      }
      const int64_t ticket = 2 * counter_of(layer, item.sequence, item.kv_head);
      if (!is_last_block(layer.state.tickets + ticket, num_splits, arrays.finish.is_last)) return;
      mark(Phase::ticket);
    }
    finish_token<Shape>(p, item, arrays.head, arrays.step, arrays.finish);
  }
  if (simt::thread_index() != 0) return;
  if (tickets > 1 && !is_last_to_count(layer, row.sequence, split.kv_head, tickets)) return;
  count_tokens(layer, row.sequence, split.kv_head, before + row.num_tokens, own.capacity);
}

}  // namespace hashevict::kernels
