// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "simt/report.hpp"

namespace hashevict::simt {

/// For each block of a launch, how many of its barriers lie before something; blocks behind the end: none.
class BlockClock {
 public:
  /// Whether what `block` did before its barrier number `barriers` + 1 is known.
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

/// How far a thread has come, as far as it orders memory: barriers of its block, a vector clock over its warp, and what
/// tickets told its block, or just itself, of other blocks. Votes and shuffles order nothing, as on a device.
struct Progress {
  int32_t block = 0;
  int32_t thread = 0;
  uint32_t barriers = 0;
  std::array<uint32_t, 32> warp_clock{};
  const BlockClock* block_clock = nullptr;
  BlockClock own_clock;  ///< since the last barrier, which hands it to the block

  [[nodiscard]] int32_t lane() const { return thread % 32; }
  [[nodiscard]] int32_t warp() const { return thread / 32; }
  [[nodiscard]] bool knows(int32_t other, uint32_t its_barriers) const {
    return (block_clock != nullptr && block_clock->knows(other, its_barriers)) || own_clock.knows(other, its_barriers);
  }
};

/// Accesses of one kind and one block to one cell, merged: by whom, and how late.
class Accesses {
 public:
  [[nodiscard]] bool none() const { return block_ == kNone; }
  /// Whether all of them lie before whatever `now` does next.
  [[nodiscard]] bool before(const Progress& now) const;
  [[nodiscard]] int32_t block() const { return block_; }
  [[nodiscard]] uint32_t barriers() const { return barriers_; }
  /// Adds one; those of another block are forgotten.
  void add(const Progress& now, uint16_t place);
  /// Of which nothing is known but the place.
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

/// What a cell has beside the plain accesses of one block: rare, and so kept elsewhere.
struct CrossBlock {
  std::vector<Accesses> readers;  ///< blocks that read before the one that read last
  Accesses atomics;               ///< of the block that came last
  std::vector<Accesses> others;   ///< the same of blocks that came before it
  BlockClock released;            ///< what those who come after an atomic access know
};

enum class AccessKind { constant, read, write, atomic };

/// What a launch did to one element of shared memory, or to some bytes of global memory. One of an earlier launch, or
/// block, counts as empty: `epoch` tells.
struct Cell {
  uint32_t epoch = 0;
  int32_t cross = -1;  ///< index of its CrossBlock, if any
  Accesses writes, reads;
};

/// Why an access is wrong: `accesses` are those that it is not ordered after.
struct Conflict {
  const char* kind = nullptr;  ///< of `accesses`; nullptr: nothing is wrong
  Accesses accesses;
  [[nodiscard]] explicit operator bool() const { return kind != nullptr; }
  /// @param kind of the access that is wrong
  [[nodiscard]] std::string text(AccessKind kind, const Progress& now) const;
};

/// Adds an access to a cell, unless it conflicts with others.
/// @param all where the cell's CrossBlock is, or is put if it needs one
Conflict record(Cell& cell, std::vector<CrossBlock>& all, AccessKind kind, const Progress& now, uint16_t place);

}  // namespace hashevict::simt
