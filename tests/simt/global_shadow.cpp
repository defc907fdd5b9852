// SPDX-License-Identifier: Apache-2.0
#include "simt/global_shadow.hpp"

#include <algorithm>

namespace hashevict::simt {

void GlobalShadow::start_launch() {
  constexpr std::size_t kMaxPages = 4096;
  ++epoch_;
  if (pages_.size() > kMaxPages || epoch_ == 0) {
    pages_.clear();
    recent_.fill({});
    epoch_ = 1;
  }
  bytes_.clear();
  cross_.clear();
}

GlobalShadow::Page& GlobalShadow::page_at(std::uintptr_t number) {
  Recent& recent = recent_[number % recent_.size()];
  if (recent.number != number) {
    std::unique_ptr<Page>& page = pages_[number];
    if (page == nullptr) page = std::make_unique<Page>();
    recent = {number, page.get()};
  }
  return *recent.page;
}

GlobalShadow::Granule& GlobalShadow::granule_of(Page& page, std::size_t index) {
  if (page.granules == nullptr) page.granules = std::make_unique<std::array<Granule, kGranules>>();
  Granule& granule = (*page.granules)[index];
  if (granule.whole.epoch != epoch_) {
    granule = Granule{};
    granule.whole.epoch = epoch_;
  }
  return granule;
}

void GlobalShadow::split(Granule& granule) {
  std::array<Cell, kGranule> cells;
  for (Cell& cell : cells) {
    cell = granule.whole;
    if (cell.cross < 0) continue;
    cell.cross = static_cast<int32_t>(cross_.size());
    cross_.push_back(CrossBlock{cross_[static_cast<std::size_t>(granule.whole.cross)]});
  }
  granule.bytes = static_cast<int32_t>(bytes_.size());
  bytes_.push_back(cells);
}

Conflict GlobalShadow::record_constant(Page& page, std::size_t index, uint8_t mask, uint16_t place) {
  if (page.granules != nullptr && (*page.granules)[index].whole.epoch == epoch_) {
    // A conflict in any order: a device may still have the old value.
    const Granule& granule = (*page.granules)[index];
    for (std::size_t byte = 0; byte < kGranule; ++byte) {
      if ((mask >> byte & 1U) == 0) continue;
      const Cell& cell = granule.bytes < 0 ? granule.whole : bytes_[static_cast<std::size_t>(granule.bytes)][byte];
      if (!cell.writes.none()) return {"write", cell.writes};
      if (cell.cross < 0) continue;
      const CrossBlock& cross = cross_[static_cast<std::size_t>(cell.cross)];
      if (!cross.atomics.none()) return {"atomic access", cross.atomics};
    }
  }
  if (page.constant_epochs[index] != epoch_) {
    page.constant_epochs[index] = epoch_;
    page.constant_bytes[index] = 0;
  }
  page.constant_bytes[index] = static_cast<uint8_t>(page.constant_bytes[index] | mask);
  page.constant_places[index] = place;
  return {};
}

Conflict GlobalShadow::record_other(Page& page, std::size_t index, uint8_t mask, AccessKind kind, const Progress& now,
                                    uint16_t place) {
  const bool constant = page.constant_epochs[index] == epoch_ && (page.constant_bytes[index] & mask) != 0;
  if (constant && kind != AccessKind::read) {
    return {"constant load", Accesses::somewhere(page.constant_places[index])};
  }
  Granule& granule = granule_of(page, index);
  if (granule.bytes < 0) {
    if (mask == (1U << kGranule) - 1) return simt::record(granule.whole, cross_, kind, now, place);
    split(granule);
  }
  for (std::size_t byte = 0; byte < kGranule; ++byte) {
    if ((mask >> byte & 1U) == 0) continue;
    Cell& cell = bytes_[static_cast<std::size_t>(granule.bytes)][byte];
    if (const Conflict conflict = simt::record(cell, cross_, kind, now, place)) return conflict;
  }
  return {};
}

Conflict GlobalShadow::record(const void* address, std::size_t bytes, AccessKind kind, const Progress& now,
                              const Place& place) {
  const auto first = reinterpret_cast<std::uintptr_t>(address);
  const std::uintptr_t end = first + bytes;
  const uint16_t number = number_of(place);
  for (std::uintptr_t at = first / kGranule * kGranule; at < end; at += kGranule) {
    const std::size_t low = at < first ? first - at : 0;
    const std::size_t high = std::min<std::size_t>(end - at, kGranule);
    const auto mask = static_cast<uint8_t>((1U << high) - (1U << low));
    Page& page = page_at(at / (kGranule * kGranules));
    const std::size_t index = at / kGranule % kGranules;
    const Conflict conflict = kind == AccessKind::constant ? record_constant(page, index, mask, number)
                                                           : record_other(page, index, mask, kind, now, number);
    if (conflict) return conflict;
  }
  return {};
}

BlockClock& GlobalShadow::released_at(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const Granule& granule = granule_of(page_at(at / (kGranule * kGranules)), at / kGranule % kGranules);
  const Cell& cell = granule.bytes < 0 ? granule.whole : bytes_[static_cast<std::size_t>(granule.bytes)][0];
  return cross_[static_cast<std::size_t>(cell.cross)].released;
}

}  // namespace hashevict::simt
