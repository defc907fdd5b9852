// SPDX-License-Identifier: Apache-2.0
#include "simt/shadow.hpp"

#include <algorithm>

namespace hashevict::simt {

bool Accesses::before(const Progress& now) const {
  if (none()) return true;
  if (block_ != now.block) return false;
  if (barriers_ < now.barriers) return true;
  if (warp_ != now.warp()) return false;
  const uint32_t others = lanes_ & ~(1U << now.lane());
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((others >> lane & 1U) != 0 && clock_ > now.warp_clock[lane]) return false;
  }
  return true;
}

void Accesses::add(const Progress& now, Place place) {
  const auto lane = static_cast<uint32_t>(now.lane());
  if (before(now)) {  // whatever comes after this access comes after those, too: they can be forgotten
    *this = Accesses{};
    block_ = now.block;
    warp_ = now.warp();
  } else {
    if (block_ != now.block) block_ = kMany;
    if (warp_ != now.warp()) warp_ = kMany;
  }
  place_ = place;
  lanes_ |= 1U << lane;
  barriers_ = now.barriers;
  // A thread's own clock moves past this access with its next warp_sync().
  clock_ = std::max(clock_, now.warp_clock[lane] + 1);
}

std::string Accesses::text() const {
  std::string who = block_ == kMany ? "several blocks" : "block " + std::to_string(block_);
  if (block_ != kMany) {
    who += warp_ == kMany ? ", several warps" : ", warp " + std::to_string(warp_) + ", lanes " + text_of_lanes(lanes_);
  }
  return who + " at " + text_of(place_);
}

namespace {

std::string conflict(const char* mine, const char* theirs, const Accesses& accesses, const Progress& now) {
  const bool blocks = accesses.by_another_block(now);
  return std::string{mine} +
         (blocks ? " conflicts between blocks with the " : " is not ordered by a barrier after the ") + theirs +
         " by " + accesses.text();
}

}  // namespace

std::string record(Cell& cell, AccessKind kind, const Progress& now, Place place) {
  const char* const name = kind == AccessKind::read ? "read" : kind == AccessKind::write ? "write" : "atomic access";
  if (cell.in_flight) return std::string{name} + " of an asynchronous copy's target before the copy was waited for";
  if (!cell.writes.before(now)) return conflict(name, "write", cell.writes, now);
  if (kind != AccessKind::read && !cell.reads.before(now)) return conflict(name, "read", cell.reads, now);
  if (kind != AccessKind::atomic && !cell.atomics.before(now)) {
    return conflict(name, "atomic access", cell.atomics, now);
  }
  Accesses& own = kind == AccessKind::read ? cell.reads : kind == AccessKind::write ? cell.writes : cell.atomics;
  own.add(now, place);
  return {};
}

std::string GlobalShadow::record(const void* address, std::size_t bytes, AccessKind kind, const Progress& now,
                                 Place place) {
  const auto first = reinterpret_cast<std::uintptr_t>(address);
  std::uintptr_t line_address = 0;
  std::array<Cell, kLine>* line = nullptr;
  for (std::uintptr_t byte = first; byte < first + bytes; ++byte) {
    if (line == nullptr || byte / kLine != line_address) {
      line_address = byte / kLine;
      line = &lines_[line_address];
    }
    std::string wrong = simt::record((*line)[byte % kLine], kind, now, place);
    if (!wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace hashevict::simt
