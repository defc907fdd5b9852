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

/// What a launch did to global memory. Exact to the byte; but since most accesses are of four bytes or more, four
/// neighbours share a cell until something touches only some of them. Kept from launch to launch, each of which has an
/// epoch of its own, so that a launch pays for what it touches and nothing else.
class GlobalShadow {
 public:
  GlobalShadow() = default;
  GlobalShadow(const GlobalShadow&) = delete;
  GlobalShadow& operator=(const GlobalShadow&) = delete;

  /// Forgets the launch before.
  void start_launch();
  Conflict record(const void* address, std::size_t bytes, AccessKind kind, const Progress& now, const Place& place);

  /// What atomic accesses to the four bytes at `address` have released; after an atomic access there.
  BlockClock& released_at(const void* address);

 private:
  static constexpr std::size_t kGranule = 4;
  static constexpr std::size_t kGranules = 1024;  // of a page
  struct Granule {
    Cell whole;
    int32_t bytes = -1;  // index into bytes_ once the bytes have cells of their own
  };
  /// Loads of constants are by far the most frequent: they have no cells, just their bytes.
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
