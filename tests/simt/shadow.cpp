// SPDX-License-Identifier: Apache-2.0
#include "simt/shadow.hpp"

#include <algorithm>

namespace hashevict::simt {

void BlockClock::learn(int32_t block, uint32_t barriers) {
  const auto i = static_cast<std::size_t>(block);
  if (i >= barriers_.size()) barriers_.resize(i + 1, 0);
  barriers_[i] = std::max(barriers_[i], barriers);
}

void BlockClock::learn(const BlockClock& other) {
  if (barriers_.size() < other.barriers_.size()) barriers_.resize(other.barriers_.size(), 0);
  for (std::size_t i = 0; i < other.barriers_.size(); ++i) barriers_[i] = std::max(barriers_[i], other.barriers_[i]);
}

bool Accesses::before(const Progress& now) const {
  if (none()) return true;
  if (block_ != now.block) return now.knows(block_, barriers_);
  if (barriers_ < now.known) return true;
  if (warp_ != now.warp()) return false;
  const uint32_t others = lanes_ & ~(1U << now.lane());
  if (others == 0) return true;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if ((others >> lane & 1U) != 0 && clock_ > now.warp_clock[lane]) return false;
  }
  return true;
}

void Accesses::add(const Progress& now, uint16_t place) {
  const auto lane = static_cast<uint32_t>(now.lane());
  if (block_ != now.block || before(now)) {  // all that comes after this access also comes after the recorded ones
    block_ = now.block;
    warp_ = static_cast<int16_t>(now.warp());
    lanes_ = 0;
    clock_ = 0;
  } else if (warp_ != now.warp()) {
    warp_ = kMany;
  }
  place_ = place;
  lanes_ |= 1U << lane;
  barriers_ = now.barriers;
  // A thread's own clock moves past this access with its next warp_sync().
  clock_ = std::max(clock_, now.warp_clock[lane] + 1);
}

std::string Accesses::text() const {
  if (none()) return "somebody at " + text_of(place_of(place_));
  return "block " + std::to_string(block_) + ", " +
         (warp_ == kMany ? "several warps" : "warp " + std::to_string(warp_) + ", lanes " + text_of_lanes(lanes_)) +
         " at " + text_of(place_of(place_));
}

namespace {

const char* name_of(AccessKind kind) {
  switch (kind) {
    case AccessKind::constant:
      return "constant load";
    case AccessKind::read:
      return "read";
    case AccessKind::write:
      return "write";
    default:
      return "atomic access";
  }
}

CrossBlock& cross_of(Cell& cell, std::vector<CrossBlock>& all) {
  if (cell.cross < 0) {
    cell.cross = static_cast<int32_t>(all.size());
    all.emplace_back();
  }
  return all[static_cast<std::size_t>(cell.cross)];
}

/// Sets `last` to the accesses of block `block` and moves those of another block to `others`.
void switch_block(Accesses& last, std::vector<Accesses>& others, int32_t block) {
  const auto own = std::find_if(others.rbegin(), others.rend(), [&](const auto& a) { return a.block() == block; });
  if (own != others.rend()) {
    std::swap(last, *own);
  } else {
    others.push_back(last);
    last = Accesses{};
  }
}

/// The first of `accesses` that is not ordered before `now`, or nullptr.
const Accesses* not_before(const std::vector<Accesses>& accesses, const Progress& now) {
  const auto found = std::find_if(accesses.begin(), accesses.end(), [&](const auto& a) { return !a.before(now); });
  return found == accesses.end() ? nullptr : &*found;
}

}  // namespace

Conflict conflict_of(const Cell& cell, const std::vector<CrossBlock>& all, AccessKind kind, const Progress& now) {
  if (!cell.writes.before(now)) return {"write", cell.writes};
  if (kind != AccessKind::read && !cell.reads.before(now)) return {"read", cell.reads};
  if (cell.cross < 0) return {};
  const CrossBlock& cross = all[static_cast<std::size_t>(cell.cross)];
  if (kind != AccessKind::read) {
    if (const Accesses* const reads = not_before(cross.readers, now)) return {"read", *reads};
  }
  if (kind != AccessKind::atomic) {
    if (!cross.atomics.before(now)) return {"atomic access", cross.atomics};
    if (const Accesses* const accesses = not_before(cross.others, now)) return {"atomic access", *accesses};
  }
  return {};
}

std::string Conflict::text(AccessKind mine, const Progress& now) const {
  const bool constant = mine == AccessKind::constant || kind == name_of(AccessKind::constant);
  if (constant) return std::string{name_of(mine)} + " in the same launch as the " + kind + " by " + accesses.text();
  const bool blocks = accesses.block() != now.block;
  return std::string{name_of(mine)} +
         (blocks ? " conflicts between blocks with the " : " is not ordered by a barrier after the ") + kind + " by " +
         accesses.text();
}

Conflict record(Cell& cell, std::vector<CrossBlock>& all, AccessKind kind, const Progress& now, uint16_t place) {
  if (const Conflict conflict = conflict_of(cell, all, kind, now)) return conflict;
  if (kind == AccessKind::write) {
    cell.writes.add(now, place);
  } else if (kind == AccessKind::atomic) {
    CrossBlock& cross = cross_of(cell, all);
    if (!cross.atomics.none() && cross.atomics.block() != now.block) {
      switch_block(cross.atomics, cross.others, now.block);
    }
    cross.atomics.add(now, place);
  } else {
    if (!cell.reads.none() && cell.reads.block() != now.block) {
      switch_block(cell.reads, cross_of(cell, all).readers, now.block);
    }
    cell.reads.add(now, place);
  }
  return {};
}

}  // namespace hashevict::simt
