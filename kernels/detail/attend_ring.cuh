// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include "kernels/detail/attend_inputs.cuh"
#include "kernels/detail/cluster.cuh"

/// attend_split() over rows that come to shared memory by bulk copies, while the block does other work.
///
/// A ring of entries holds the keys, or the values, of one turn each: keys and values of the first turn, of the second,
/// and so on, over all splits that the block takes. Every entry has two mbarriers, one for its copies and one for the
/// warps that have read it. Warp 0 starts the copies, a lane for each run of rows that lie together: a few for a whole
/// turn in dense caches, one a row where the heads of a slot are neighbours. It refills the entry before the one that
/// it has just read, so it hardly ever waits for slower warps. Rows meet the same lanes in the same order as in
/// attend_split(), so the bits are the same.
namespace hashevict::kernels {

/// Slots of a turn, by the whole block.
template <class Shape>
struct TurnSlots {
  static constexpr int32_t kCount = Shape::kTurnSlots;
};
template <DType kDtype, int32_t kDims>
struct TurnSlots<MmaShape<kDtype, kDims>> {
  static constexpr int32_t kCount = kAttendWarps * kMmaSlots;
};

/// The longest rows of a shape, in elements.
template <class Shape>
struct RowElements {
  static constexpr int32_t kMost = Shape::kLanes * kPieceElements;
};
template <DType kDtype, int32_t kDims>
struct RowElements<MmaShape<kDtype, kDims>> {
  static constexpr int32_t kMost = kDims;
};

/// The ring of a shape: at most 64 KiB, so that two blocks fit on a multiprocessor; 96 for the longest rows on tensor
/// cores.
template <class Shape>
struct RingShape {
  static constexpr int32_t kSlots = TurnSlots<Shape>::kCount;
  static constexpr int32_t kMostBytes = kSlots * RowElements<Shape>::kMost * size_of(Shape::kDtype);
  static constexpr int32_t kFit = 64 * 1024 / kMostBytes;
  static constexpr int32_t kEntries = kFit < 3 ? 3 : kFit > 8 ? 8 : kFit;
  static constexpr bool kFitsTwice = kFit >= 3;  ///< on a multiprocessor
  static_assert(kEntries * kMostBytes <= 96 * 1024);

  /// Words of a row.
  static HASHEVICT_HOST_DEVICE constexpr int32_t row_words(int32_t head_dim) {
    return head_dim * size_of(Shape::kDtype) / 4;
  }
  static HASHEVICT_HOST_DEVICE constexpr int32_t bytes(int32_t head_dim) {
    return simt::shared_bytes<uint32_t>(kEntries * kSlots * row_words(head_dim)) + simt::Mbarriers::bytes(2 * kEntries);
  }
};

/// The rows that a block goes through: splits `first`, `first` + `step`, .. of a head, once for each tile of queries.
struct RingRows {
  core::SlotAddress address;
  int32_t length;  ///< valid slots of the head
  int32_t split_bits;
  int32_t num_splits;  ///< 0 without slots
  int32_t first;
  int32_t step;
  int32_t tiles;

  [[nodiscard]] HASHEVICT_DEVICE int32_t slots_of(int32_t split) const {
    const int32_t left = length - (split << split_bits);
    const int32_t most = 1 << split_bits;
    return left < most ? left : most;
  }
};

/// A warp starts to copy the rows of neighbouring slots to shared memory. Inlined: where rows are longest, a call
/// would leave too few registers.
/// @param first_word of the entry, whose number is also that of its mbarrier
/// @param readers an mbarrier to wait for before, with its parity; -1: none
HASHEVICT_DEVICE void copy_rows(core::SlotAddress address, const int32_t* pages, int32_t first_slot, int32_t count,
                                const unsigned char* from, simt::SharedArray<uint32_t> words, int32_t first_word,
                                int32_t row_words, simt::Mbarriers barriers, int32_t entry, int32_t readers,
                                uint32_t parity) {
  address.pages = simt::in_global_memory(pages);
  if (readers >= 0) barriers.wait(readers, parity);
  const int32_t row_bytes = 4 * row_words;
  const bool dense = address.slot_stride == row_bytes;  // rows of neighbouring slots lie together
  if (simt::lane() == 0) barriers.arrive_and_expect(entry, count * row_bytes);
  HASHEVICT_NO_UNROLL
  for (int32_t row = simt::lane(); row < count; row += simt::kWarpSize) {
    const core::SlotPlace slot = address.find(first_slot + row);
    if (dense && simt::lane() > 0 && slot.before > 0) continue;  // a lane before this one copies the row
    const int32_t run_of_rows = dense ? slot.run : 1;
    const int32_t left = count - row < simt::kWarpSize - simt::lane() ? count - row : simt::kWarpSize - simt::lane();
    simt::start_bulk_copy(words, first_word + row * row_words, from + slot.offset,
                          (run_of_rows < left ? run_of_rows : left) * row_bytes, barriers, entry);
  }
}

/// The ring of a block. Every thread has its own copy, and all count entries alike.
template <class Shape>
class Ring {
 public:
  static constexpr int32_t kEntries = RingShape<Shape>::kEntries;
  static constexpr int32_t kSlots = RingShape<Shape>::kSlots;

  HASHEVICT_DEVICE Ring(simt::SharedMemory& memory, int32_t head_dim)
      : words_{memory.take<uint32_t>(kEntries * kSlots * RingShape<Shape>::row_words(head_dim))},
        barriers_{memory, 2 * kEntries},
        row_words_{RingShape<Shape>::row_words(head_dim)},
        fills_{simt::uniform_warp() == 0} {}

  /// One thread calls it; then the block meets.
  HASHEVICT_DEVICE void init() const {
    HASHEVICT_NO_UNROLL
    for (int32_t entry = 0; entry < kEntries; ++entry) {
      barriers_.init(entry, 1);
      barriers_.init(kEntries + entry, kAttendWarps);
    }
  }

  /// Starts the first copies of a token. The ring is empty.
  HASHEVICT_DEVICE void start(const Layer& layer, const RingRows& rows) {
    split_ = rows.first;
    slot_ = 0;
    tiles_ = rows.first < rows.num_splits ? rows.tiles : 0;
    simt::fence_bulk_copies();  // rows were written by threads, of this launch or of one before
    HASHEVICT_NO_UNROLL
    for (int32_t i = 0; i < kEntries; ++i) fill(layer, rows);
  }

  /// Waits for the next entry. @return its first word
  HASHEVICT_DEVICE int32_t wait() const {
    const int32_t entry = read_ % kEntries;
    barriers_.wait(entry, static_cast<uint32_t>(read_ / kEntries) % 2);
    return entry * kSlots * row_words_;
  }

  /// The warp has read the entry. Warp 0 refills the one before it.
  HASHEVICT_DEVICE void release(const Layer& layer, const RingRows& rows) {
    simt::warp_sync(simt::kFullMask);
    if (simt::lane() == 0) barriers_.arrive(kEntries + read_ % kEntries);
    ++read_;
    if (filled_ < read_ - 1 + kEntries) fill(layer, rows);
  }

  /// A row's elements from `element` on, of the entry that starts at word `entry`.
  HASHEVICT_DEVICE Piece<Shape::kDtype> piece(int32_t entry, int32_t slot, int32_t element) const {
    Piece<Shape::kDtype> piece;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Piece<Shape::kDtype>::kParts; ++i) {
      const int32_t word = entry + slot * row_words_ + element * size_of(Shape::kDtype) / 4 + 4 * i;
      words_.load_many(word, piece.parts[i].words);
    }
    return piece;
  }

 private:
  /// Fills the next entry, if any rows are left: with keys, then with the values of the same slots.
  HASHEVICT_DEVICE void fill(const Layer& layer, const RingRows& rows) {
    if (tiles_ == 0) return;
    const int32_t left = rows.slots_of(split_) - slot_;
    const int32_t count = left < kSlots ? left : kSlots;
    const bool is_key = filled_ % 2 == 0;
    if (fills_) {
      const int32_t entry = filled_ % kEntries;
      const int32_t use = filled_ / kEntries;
      copy_rows(rows.address, rows.address.pages, (split_ << rows.split_bits) + slot_, count,
                static_cast<const unsigned char*>(is_key ? layer.keys : layer.values), words_,
                entry * kSlots * row_words_, row_words_, barriers_, entry, use > 0 ? kEntries + entry : -1,
                static_cast<uint32_t>(use - 1) % 2);
    }
    filled_ += 1;
    if (is_key) return;
    slot_ += kSlots;
    if (slot_ < rows.slots_of(split_)) return;
    slot_ = 0;
    split_ += rows.step;
    if (split_ < rows.num_splits) return;
    split_ = rows.first;
    --tiles_;
  }

  simt::SharedArray<uint32_t> words_;
  simt::Mbarriers barriers_;  // kEntries for copies, then kEntries for readers
  int32_t row_words_;
  bool fills_;          // of warp 0
  int32_t filled_ = 0;  // entries, since the launch began
  int32_t read_ = 0;
  int32_t split_ = 0;  // of the entry to fill next
  int32_t slot_ = 0;   // of that split
  int32_t tiles_ = 0;  // that are left, with that entry's
};

/// Whether a slot of the split counts: all do.
struct EverySlot {
  HASHEVICT_DEVICE bool operator()(int32_t /*slot*/) const { return true; }
};

/// Takes the logits of the slot that is held out.
struct SharedLogits {
  simt::SharedArray<float> logits;
  int32_t first;
  int32_t num_queries;

  HASHEVICT_DEVICE void store(int32_t query, float logit) const {
    if (query < num_queries) logits.store(first + query, logit);
  }
};

/// Attends over one split. The caller has filled `shared.queries` and met; split_partial() reads the result.
/// @param held_out the slot of the split that is held out, or -1
/// @param logits takes its logits, by store(query, logit)
/// @param counts (slot of the split) whether a slot counts; the rows of all slots are copied
template <DType kDtype, int32_t kLanes, int32_t kTile, class Logits, class Counts = EverySlot>
HASHEVICT_DEVICE void attend_ring(Ring<AttendShape<kDtype, kLanes, kTile>>& ring, const Layer& layer,
                                  const RingRows& rows, const Softmax& softmax, int32_t num_slots, int32_t held_out,
                                  const Logits& logits, const AttendShared& shared, const Counts& counts = {}) {
  using Shape = AttendShape<kDtype, kLanes, kTile>;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t element = first_element<Shape>();
  const int32_t group = simt::thread_index() / kLanes;
  LaneState<Shape> state;
  start<Shape>(state, shared, head_dim);
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_slots; first += Shape::kTurnSlots) {
    Turn turn;
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Shape::kTurn; ++i) {
      const int32_t slot = first + i * Shape::kGroups + group;
      if (slot < num_slots && counts(slot)) turn.visible |= 1U << i;
      if (slot == held_out) turn.held_out |= 1U << i;
    }
    float dots[Shape::kDots];
    float rescale = 1.0F;
    HASHEVICT_NO_UNROLL
    for (int32_t half = 0; half < 2; ++half) {  // keys, then values: one copy of the code that brings rows
      const uint32_t wanted = half == 0 ? turn.visible : turn.visible & ~turn.held_out;
      TurnRows<Shape> rows_of_turn;
      const int32_t entry = ring.wait();
      HASHEVICT_UNROLL
      for (int32_t i = 0; i < Shape::kTurn; ++i) {
        rows_of_turn[i] = {};
        if ((wanted >> i & 1U) == 0 || element >= head_dim) continue;
        rows_of_turn[i] = ring.piece(entry, i * Shape::kGroups + group, element);
      }
      ring.release(layer, rows);
      if (half == 0) {
        dot_turn<Shape>(rows_of_turn, state, dots);
        rescale = weigh_turn<Shape>(turn, softmax, logits, state, dots);
      } else {
        add_values<Shape>(rows_of_turn, state, rescale, dots);
      }
    }
  }
  store_warp<Shape>(state, shared, head_dim);
  simt::block_sync();
}

template <class Shape>
HASHEVICT_DEVICE void load_ring_keys(const Ring<Shape>& ring, int32_t entry, int32_t count, int32_t base,
                                     int32_t head_dim, MmaKeys<Shape>& keys) {
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 2 * MmaKeys<Shape>::kTogether; ++i) {
    const int32_t slot = simt::warp() * kMmaSlots + mma_lane().row + i % 2 * 8;
    const int32_t dim = MmaKeys<Shape>::dim(base, i);
    keys.pieces[i] = {};
    if (slot < count && dim < head_dim) keys.pieces[i] = ring.piece(entry, slot, dim);
  }
}

/// The slots of a warp's turn that do not count: bit i is slot `first` + i. Zero without `counts`.
template <class Counts>
HASHEVICT_DEVICE uint32_t hidden_slots(int32_t first, int32_t num_slots, const Counts& counts) {
  if constexpr (std::is_same_v<Counts, EverySlot>) {
    return 0;
  } else {
    const int32_t slot = first + simt::lane();
    return simt::ballot(simt::kFullMask, simt::lane() < kMmaSlots && slot < num_slots && !counts(slot));
  }
}

/// A lane's values of four slots, in the 64 dimensions of chunk `c`.
/// @param hidden of the warp's slots; values that are not to be seen may be anything
template <class Shape>
HASHEVICT_DEVICE void load_ring_values(const Ring<Shape>& ring, int32_t entry, int32_t count, int32_t held_out,
                                       uint32_t hidden, int32_t head_dim, int32_t c, Piece<Shape::kDtype> (&rows)[4]) {
  const int32_t dim = MmaValues<Shape>::dim(c);
  HASHEVICT_UNROLL
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t slot = simt::warp() * kMmaSlots + MmaValues<Shape>::slot(i);
    rows[i] = {};
    if (slot >= count || slot == held_out || (hidden >> MmaValues<Shape>::slot(i) & 1U) != 0) continue;
    if (dim < head_dim) rows[i] = ring.piece(entry, slot, dim);
  }
}

/// mma_values() with values of the ring, 64 dimensions after the other: the longest rows leave no registers for all.
template <class Shape>
HASHEVICT_DEVICE void mma_ring_values(const MmaLogits<Shape>& weights, const Ring<Shape>& ring, int32_t entry,
                                      int32_t count, int32_t held_out, uint32_t hidden, int32_t head_dim,
                                      float (&sums)[Shape::kDims / 16][4]) {
  MmaWeights<Shape> split;
  split_weights(weights, split);
  HASHEVICT_UNROLL
  for (int32_t c = 0; c < Shape::kDims / kValueDims; ++c) {
    Piece<Shape::kDtype> rows[4];
    load_ring_values(ring, entry, count, held_out, hidden, head_dim, c, rows);
    const MmaValueChunk chunk{{rows[0].parts[0], rows[1].parts[0], rows[2].parts[0], rows[3].parts[0]}};
    mma_value_chunk(split, c, chunk, sums);
  }
}

/// The same on tensor cores.
template <DType kDtype, int32_t kDims, class Logits, class Counts = EverySlot>
HASHEVICT_DEVICE void attend_ring(Ring<MmaShape<kDtype, kDims>>& ring, const Layer& layer, const RingRows& rows,
                                  const Softmax& softmax, int32_t num_slots, int32_t held_out, const Logits& logits,
                                  const AttendShared& shared, const Counts& counts = {}) {
  using Shape = MmaShape<kDtype, kDims>;
  constexpr int32_t kSlots = RingShape<Shape>::kSlots;
  const int32_t head_dim = layer.shape.head_dim;
  const int32_t own = simt::uniform_warp() * kMmaSlots;
  const MmaQueries<Shape, kDims <= 128> queries{shared, head_dim};  // longer rows leave no registers for them
  MmaState<Shape> state{{kNegativeInfinity, kNegativeInfinity}, {0.0F, 0.0F}, {}};
  HASHEVICT_NO_UNROLL
  for (int32_t first = 0; first < num_slots; first += kSlots) {
    MmaLogits<Shape> weights;
    const uint32_t hidden = hidden_slots(first + own, num_slots, counts);
    HASHEVICT_NO_UNROLL
    for (int32_t half = 0; half < 2; ++half) {  // keys, then values: one copy of the code that brings rows
      const int32_t entry = ring.wait();
      const int32_t count = simt::varying(num_slots - first);  // of the turn, or more
      MmaValues<Shape> values;
      if (half == 0) {
        mma_dots<Shape>(
            queries,
            [&](int32_t base, MmaKeys<Shape>& keys) { load_ring_keys(ring, entry, count, base, head_dim, keys); },
            weights);
      } else if constexpr (Shape::kLoadsTogether) {
        HASHEVICT_UNROLL
        for (int32_t c = 0; c < kDims / kValueDims; ++c) {
          load_ring_values(ring, entry, count, held_out - first, hidden, head_dim, c, values.rows[c]);
        }
      } else if (own < count) {
        mma_ring_values(weights, ring, entry, count, held_out - first, hidden, head_dim, state.values);
      }
      ring.release(layer, rows);
      if (own >= count) continue;
      if (half == 0) {
        mma_logits<Shape>(
            softmax, own, held_out - first, logits,
            [&](int32_t slot) { return slot < count && (hidden >> (slot - own) & 1U) == 0; }, weights);
        mma_weights<Shape>(weights, state);
      } else if constexpr (Shape::kLoadsTogether) {
        mma_values(weights, values, state.values);
      }
    }
  }
  store_mma_warp<Shape>(shared, head_dim, state);
  simt::block_sync();
}

}  // namespace hashevict::kernels
