// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "simt/report.hpp"

namespace hashevict::simt {

/// How far a thread has come, as far as it orders memory: barriers of its block, and a vector clock over its warp.
/// Votes and shuffles order nothing, as on a device.
struct Progress {
  int32_t block = 0;
  int32_t thread = 0;
  uint32_t barriers = 0;
  std::array<uint32_t, 32> warp_clock{};

  [[nodiscard]] int32_t lane() const { return thread % 32; }
  [[nodiscard]] int32_t warp() const { return thread / 32; }
};

/// Accesses of one kind to one cell, merged: by whom, and how late.
class Accesses {
 public:
  [[nodiscard]] bool none() const { return block_ == kNone; }
  /// Whether all of them lie before whatever `now` does next.
  [[nodiscard]] bool before(const Progress& now) const;
  /// Whether another block has a part in them.
  [[nodiscard]] bool by_another_block(const Progress& now) const { return !none() && block_ != now.block; }
  void add(const Progress& now, Place place);
  [[nodiscard]] std::string text() const;

 private:
  static constexpr int32_t kNone = -1;
  static constexpr int32_t kMany = -2;
  int32_t block_ = kNone;
  int32_t warp_ = kNone;
  uint32_t lanes_ = 0;
  uint32_t barriers_ = 0;
  uint32_t clock_ = 0;
  Place place_{"", 0};
};

/// What a launch did to one byte or element.
struct Cell {
  Accesses writes, reads, atomics;
  bool in_flight = false;  ///< an asynchronous copy has been started into it
};

enum class AccessKind { read, write, atomic };

/// Adds an access to a cell. Returns what is wrong with it, or nothing: empty.
std::string record(Cell& cell, AccessKind kind, const Progress& now, Place place);

/// Cells of global memory, one a byte, made as they are touched; for one launch.
class GlobalShadow {
 public:
  std::string record(const void* address, std::size_t bytes, AccessKind kind, const Progress& now, Place place);

 private:
  static constexpr std::size_t kLine = 8;
  std::unordered_map<std::uintptr_t, std::array<Cell, kLine>> lines_;
};

}  // namespace hashevict::simt
