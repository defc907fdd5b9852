// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "simt/shadow.hpp"

namespace hashevict::simt {

/// A launch's accesses to global memory, exact to the byte. Most accesses are of four bytes or more, so four neighbours
/// share a cell until an access touches only some of them. The shadow persists between launches. Each launch has its
/// own epoch and so pays only for the memory that it touches.
class GlobalShadow {
 public:
  GlobalShadow() = default;
  GlobalShadow(const GlobalShadow&) = delete;
  GlobalShadow& operator=(const GlobalShadow&) = delete;

  /// Forgets the previous launch.
  void start_launch();
  Conflict record(const void* address, std::size_t bytes, AccessKind kind, const Progress& now, const Place& place);

  /// The barriers published by atomic accesses to the four bytes at `address`. Call it after an atomic access there.
  BlockClock& released_at(const void* address);

 private:
  static constexpr std::size_t kGranule = 4;
  static constexpr std::size_t kGranules = 1024;  // granules per page
  struct Granule {
    Cell whole;
    int32_t bytes = -1;  // index into bytes_ once the bytes have cells of their own
  };
  /// Loads of constants are by far the most frequent accesses. They have no cells, only bytes.
  struct Page {
    std::array<uint32_t, kGranules> constant_epochs{};
    std::array<uint8_t, kGranules> constant_bytes{};
    std::array<uint16_t, kGranules> constant_places{};
    std::unique_ptr<std::array<Granule, kGranules>> granules;
  };

  Page& page_at(std::uintptr_t number);
  Granule& granule_of(Page& page, std::size_t index);
  void split(Granule& granule);
  Conflict record_constant(Page& page, std::size_t index, uint8_t mask, uint16_t place);
  Conflict record_other(Page& page, std::size_t index, uint8_t mask, AccessKind kind, const Progress& now,
                        uint16_t place);

  uint32_t epoch_ = 0;
  std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages_;
  struct Recent {
    std::uintptr_t number = UINTPTR_MAX;
    Page* page = nullptr;
  };
  std::array<Recent, 64> recent_;
  std::vector<std::array<Cell, kGranule>> bytes_;
  std::vector<CrossBlock> cross_;
};

}  // namespace hashevict::simt
