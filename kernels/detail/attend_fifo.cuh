// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/attend_state.cuh"

/// The rows of a split on their way to shared memory, while the block does other work.
///
/// Attention uses a row's pieces of 16 bytes once each, and it is known beforehand which thread does. So every thread
/// copies its own pieces, asynchronously, to a column of shared memory that no other thread touches. It needs no
/// barrier: it waits for its own copies, reads its column and copies the next pieces there. The column is a FIFO of
/// entries. An entry holds the thread's pieces of one part of a turn: keys come first, then the values of the same
/// slots. Each entry is a group of copies, the empty ones behind the end included, so all but the newest kEntries - 1
/// groups have landed when the oldest entry is read.
///
/// Where rows lie, a warp looks up for itself, a lane a slot, before the copies get there.
namespace hashevict::kernels {

/// The inputs of one split.
struct SplitInput {
  const void* keys;
  const void* values;
  bool aligned;
  int32_t head_dim;
  int32_t num_slots;  ///< slots of the split
  Softmax softmax;
};

/// Where a piece of a part lies.
struct PiecePlace {
  int32_t slot;     ///< of the warp's turn
  int32_t element;  ///< of the row; behind its end there is nothing
  int32_t byte;     ///< of the row
};

/// A thread's pieces of the parts of a turn: kKeyParts of its keys, then as many of its values. A warp takes runs of
/// kRun neighbouring slots, side by side with the other warps, kWarpSlots slots in a turn. A block has kBytes of
/// entries: so many that the blocks that registers are meant for also find room in the shared memory of an A100, but
/// for rows above 128 elements without tensor cores.
template <class Shape>
struct TurnParts {
  static constexpr int32_t kRun = simt::kWarpSize / Shape::kLanes;
  static constexpr int32_t kWarpSlots = Shape::kTurn * kRun;
  static constexpr int32_t kPieces = Shape::kTurn * Piece<Shape::kDtype>::kParts;
  static constexpr int32_t kKeyParts = 1;
  static constexpr int32_t kParts = 2;
  static constexpr int32_t kBytes = Shape::kBlocks == 3 ? 24 * 1024 : 32 * 1024;

  static HASHEVICT_DEVICE PiecePlace place(int32_t /*part*/, int32_t piece) {
    constexpr int32_t kEach = Piece<Shape::kDtype>::kParts;
    const int32_t element = simt::lane() % Shape::kLanes * kPieceElements;
    return {piece / kEach * kRun + simt::lane() / Shape::kLanes, element,
            element * size_of(Shape::kDtype) + piece % kEach * 16};
  }
};

/// On tensor cores a part has 64 dimensions. Two chunks of 32 of a key, in rows `row` and `row + 8`; or eight elements
/// of a value in four rows. See attend_mma.cuh.
template <DType kDtype, int32_t kDims>
struct TurnParts<MmaShape<kDtype, kDims>> {
  static constexpr int32_t kRun = kMmaSlots;
  static constexpr int32_t kWarpSlots = kMmaSlots;
  static constexpr int32_t kPieces = 4;
  static constexpr int32_t kKeyParts = kDims / 64;
  static constexpr int32_t kParts = 2 * kKeyParts;
  static constexpr int32_t kBytes = kDims == 64 ? 24 * 1024 : kDims == 128 ? 48 * 1024 : 32 * 1024;

  static HASHEVICT_DEVICE PiecePlace place(int32_t part, int32_t piece) {
    const int32_t row = simt::lane() / 4;
    const int32_t pair = simt::lane() % 4;
    const bool is_key = part < kKeyParts;
    const int32_t slot = is_key ? row + piece % 2 * 8 : 2 * pair + piece % 2 + piece / 2 * 8;
    const int32_t element =
        part % kKeyParts * 64 + (is_key ? piece / 2 * 32 + pair * kPieceElements : row * kPieceElements);
    return {slot, element, element * size_of(kDtype)};
  }
};

/// A shape's entries.
template <class Shape>
struct FifoShape {
  using Parts = TurnParts<Shape>;
  static constexpr int32_t kEntryWords = Parts::kPieces * kAttendThreads * 4;
  static constexpr int32_t kEntries = Parts::kBytes / (kEntryWords * 4);
  static constexpr int32_t kWords = kEntries * kEntryWords;
  /// Turns from the one that is read to the one whose copies start.
  static constexpr int32_t kTurnsAhead = (Parts::kParts - 1 + kEntries) / Parts::kParts;
  static_assert(kTurnsAhead * Parts::kWarpSlots <= simt::kWarpSize, "copies start in this stage or in the next one");
};

inline constexpr int32_t kWarpOffsets = 2 * simt::kWarpSize;  ///< a stage that is read and the one ahead

/// A thread's column. Every thread has its own counters; those of a warp's lanes are alike.
template <class Shape>
class RowFifo {
 public:
  using Parts = TurnParts<Shape>;
  static constexpr int32_t kEntries = FifoShape<Shape>::kEntries;

  /// @param columns FifoShape::kWords or more
  /// @param offsets [kAttendWarps, kWarpOffsets] offset of a slot's row in bytes; -1: it must not be read
  HASHEVICT_DEVICE RowFifo(const simt::SharedArray<float>& columns, const simt::SharedArray<int64_t>& offsets)
      : columns_{columns}, offsets_{offsets}, warp_{simt::uniform_warp()} {}

  /// Starts the first copies of a split. Begins with a barrier: the columns may still hold what others read.
  /// @param find_offset (slot of the split) the offset of its row in bytes, or -1; slots behind the end included
  template <class FindOffset>
  HASHEVICT_DEVICE void start(const SplitInput& input, const FindOffset& find_offset) {
    const int32_t left = input.num_slots - slot_of(0);
    const int32_t turns = (left + kAttendWarps * Parts::kWarpSlots - 1) / (kAttendWarps * Parts::kWarpSlots);
    num_parts_ = left > 0 ? turns * Parts::kParts : 0;
    filled_ = 0;
    simt::block_sync();
    HASHEVICT_NO_UNROLL
    for (int32_t stage = 0; stage < 2; ++stage) look_up(stage, input, find_offset);
    HASHEVICT_NO_UNROLL
    for (entry_ = 0; entry_ < kEntries; ++entry_) fill(input);
    entry_ = 0;
  }

  /// Parts that this thread takes, in order.
  [[nodiscard]] HASHEVICT_DEVICE int32_t num_parts() const { return num_parts_; }

  /// Takes the pieces of the next part, and starts to copy others to their place.
  HASHEVICT_DEVICE void take(const SplitInput& input, simt::Bytes16 (&pieces)[Parts::kPieces]) {
    simt::wait_for_older_copies<kEntries - 1>();
    HASHEVICT_UNROLL
    for (int32_t i = 0; i < Parts::kPieces; ++i) {
      float words[4];
      columns_.load_many(word_of(i), words);
      HASHEVICT_UNROLL
      for (int32_t k = 0; k < 4; ++k) pieces[i].words[k] = simt::bits_of_float(words[k]);
    }
    fill(input);
    entry_ = entry_ + 1 == kEntries ? 0 : entry_ + 1;
  }

  /// Ends a turn, all parts of which were taken.
  template <class FindOffset>
  HASHEVICT_DEVICE void end_turn(int32_t turn, const SplitInput& input, const FindOffset& find_offset) const {
    const int32_t end = (turn + 1) * Parts::kWarpSlots;
    if (end % simt::kWarpSize == 0) look_up(end / simt::kWarpSize + 1, input, find_offset);
  }

  /// Whether a slot of the warp's turn counts.
  [[nodiscard]] HASHEVICT_DEVICE bool counts(int32_t turn, int32_t slot) const { return offset(turn, slot) >= 0; }

 private:
  /// A slot of the split, by its number among the warp's.
  [[nodiscard]] HASHEVICT_DEVICE int32_t slot_of(int32_t n) const {
    return n / Parts::kRun * (kAttendWarps * Parts::kRun) + warp_ * Parts::kRun + n % Parts::kRun;
  }
  [[nodiscard]] HASHEVICT_DEVICE int64_t offset(int32_t turn, int32_t slot) const {
    return offsets_.load(warp_ * kWarpOffsets + (turn * Parts::kWarpSlots + slot) % kWarpOffsets);
  }
  [[nodiscard]] HASHEVICT_DEVICE int32_t word_of(int32_t piece) const {
    return entry_ * FifoShape<Shape>::kEntryWords + (piece * kAttendThreads + simt::thread_index()) * 4;
  }

  /// Looks up where the rows of a stage of the warp's slots lie.
  template <class FindOffset>
  HASHEVICT_DEVICE void look_up(int32_t stage, const SplitInput& input, const FindOffset& find_offset) const {
    const int32_t n = stage * simt::kWarpSize + simt::lane();
    const int32_t slot = slot_of(n);
    const int64_t found = slot < input.num_slots ? find_offset(slot) : int64_t{-1};
    simt::warp_sync(simt::kFullMask);  // all lanes have read the stage that was there
    offsets_.store(warp_ * kWarpOffsets + n % kWarpOffsets, found);
    simt::warp_sync(simt::kFullMask);
  }

  /// Where a piece of a part is in memory, or nullptr: a slot that does not count gives zeros, since its memory may
  /// hold anything, and so does what lies behind a row's end.
  [[nodiscard]] HASHEVICT_DEVICE const unsigned char* source(const SplitInput& input, int32_t part,
                                                             int32_t piece) const {
    const auto* const data = static_cast<const unsigned char*>(part < Parts::kKeyParts ? input.keys : input.values);
    const PiecePlace at = Parts::place(part, piece);
    const int64_t row = offset(filled_ / Parts::kParts, at.slot);
    return row >= 0 && at.element < input.head_dim ? data + (row + at.byte) : nullptr;
  }

  /// Starts to copy the pieces of the next part to the entry, if one is left. Rows that no copy can bring are loaded, a
  /// word after the other: they are rare, and the code for several at a time is long.
  HASHEVICT_DEVICE void fill(const SplitInput& input) {
    if (filled_ < num_parts_) {
      const int32_t part = filled_ % Parts::kParts;
      if (input.aligned) {
        HASHEVICT_UNROLL
        for (int32_t i = 0; i < Parts::kPieces; ++i) {
          const unsigned char* const from = source(input, part, i);
          columns_.start_copy_or_zeros(word_of(i), from != nullptr ? from : input.keys, from != nullptr);
        }
      } else {
        HASHEVICT_NO_UNROLL
        for (int32_t n = 0; n < 4 * Parts::kPieces; ++n) {
          const unsigned char* const from = source(input, part, n / 4);
          const uint32_t word = from != nullptr ? load_word_apart<Shape::kDtype>(from + n % 4 * 4) : 0U;
          columns_.store(word_of(n / 4) + n % 4, simt::float_from_bits(word));
        }
      }
      ++filled_;
    }
    simt::commit_copies();
  }

  simt::SharedArray<float> columns_;
  simt::SharedArray<int64_t> offsets_;
  int32_t warp_;
  int32_t num_parts_ = 0;
  int32_t filled_ = 0;  // parts
  int32_t entry_ = 0;   // that is read, then filled
};

}  // namespace hashevict::kernels
