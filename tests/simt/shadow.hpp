// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "simt/report.hpp"

namespace hashevict::simt {

/// For each block of a launch, the number of its barriers that precede an event. Blocks beyond the end have none.
class BlockClock {
 public:
  /// Whether everything is known that `block` did before its barrier number `barriers` + 1.
  [[nodiscard]] bool knows(int32_t block, uint32_t barriers) const {
    const auto i = static_cast<std::size_t>(block);
    return i < barriers_.size() && barriers < barriers_[i];
  }
  [[nodiscard]] bool empty() const { return barriers_.empty(); }
  void clear() { barriers_.clear(); }
  void learn(int32_t block, uint32_t barriers);
  void learn(const BlockClock& other);

 private:
  std::vector<uint32_t> barriers_;
};

/// A thread's progress, as far as it orders memory: barriers of its block, a vector clock over its warp, and what its
/// block or the thread itself learnt of other blocks from tickets and from barriers of the cluster. Votes and shuffles
/// order nothing, as on a device.
struct Progress {
  int32_t block = 0;
  int32_t thread = 0;
  uint32_t barriers = 0;  ///< that precede the thread's next access; an arrival at the cluster's barrier counts as one
  uint32_t known = 0;     ///< accesses of the block behind fewer barriers are ordered before the thread's next one
  std::array<uint32_t, 32> warp_clock{};
  const BlockClock* block_clock = nullptr;
  BlockClock own_clock;  ///< since the last barrier, which passes it to the block

  [[nodiscard]] int32_t lane() const { return thread % 32; }
  [[nodiscard]] int32_t warp() const { return thread / 32; }
  [[nodiscard]] bool knows(int32_t other, uint32_t its_barriers) const {
    return (block_clock != nullptr && block_clock->knows(other, its_barriers)) || own_clock.knows(other, its_barriers);
  }
};

/// Accesses of one kind by one block to one cell, merged: their threads and the latest time.
class Accesses {
 public:
  [[nodiscard]] bool none() const { return block_ == kNone; }
  /// Whether all of them are ordered before the next access of `now`.
  [[nodiscard]] bool before(const Progress& now) const;
  [[nodiscard]] int32_t block() const { return block_; }
  [[nodiscard]] uint32_t barriers() const { return barriers_; }
  /// Adds an access. Accesses of another block are forgotten.
  void add(const Progress& now, uint16_t place);
  /// Accesses of which only the place is known.
  static Accesses somewhere(uint16_t place) {
    Accesses accesses;
    accesses.place_ = place;
    return accesses;
  }
  [[nodiscard]] std::string text() const;

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int16_t kMany = -2;
  int32_t block_ = kNone;
  uint32_t lanes_ = 0;
  uint32_t barriers_ = 0;
  uint32_t clock_ = 0;
  int16_t warp_ = 0;
  uint16_t place_ = 0;
};

/// The rare part of a cell: everything beyond the plain accesses of one block. Stored apart.
struct CrossBlock {
  std::vector<Accesses> readers;  ///< blocks that read before the latest reader
  Accesses atomics;               ///< atomic accesses of the latest block
  std::vector<Accesses> others;   ///< atomic accesses of earlier blocks
  BlockClock released;            ///< known to those who come after an atomic access
};

enum class AccessKind { constant, read, write, atomic };

/// A launch's accesses to one element of shared memory, or to some bytes of global memory. A cell of an earlier launch
/// or block counts as empty; `epoch` identifies it.
struct Cell {
  uint32_t epoch = 0;
  int32_t cross = -1;  ///< index of its CrossBlock, if any
  Accesses writes, reads;
};

/// The fault of an access: it is not ordered after `accesses`.
struct Conflict {
  const char* kind = nullptr;  ///< kind of `accesses`; nullptr: no fault
  Accesses accesses;
  [[nodiscard]] explicit operator bool() const { return kind != nullptr; }
  /// @param kind of the faulty access
  [[nodiscard]] std::string text(AccessKind kind, const Progress& now) const;
};

/// The access that one of this kind would conflict with now, if any.
Conflict conflict_of(const Cell& cell, const std::vector<CrossBlock>& all, AccessKind kind, const Progress& now);

/// Adds an access to a cell unless it conflicts with others.
/// @param all contains the cell's CrossBlock, and receives it if the cell needs one
Conflict record(Cell& cell, std::vector<CrossBlock>& all, AccessKind kind, const Progress& now, uint16_t place);

}  // namespace hashevict::simt
