// SPDX-License-Identifier: Apache-2.0
// The executor's copies by threads from global memory to shared memory, and their groups.
#include <algorithm>
#include <cstring>

#include "simt/executor.hpp"

namespace hashevict::simt {

void Executor::start_copy(const void* from, SharedRegion& region, int32_t first, Place place) {
  const auto count = kCopiedBytes / static_cast<int32_t>(region.element_bytes);
  if (from != nullptr) access_global(from, kCopiedBytes, kCopiedBytes, AccessKind::read, place);
  check_range(region, first, count, place);
  if (region.copied.empty()) region.copied.resize(region.count, CopyState::none);
  for (int32_t i = first; i < first + count; ++i) {
    CopyState& state = region.copied[static_cast<std::size_t>(i)];
    if (state == CopyState::flies) fail_access("shared", place, "copy to what a copy fills that nobody waited for");
    if (state == CopyState::unread) fail_access("shared", place, "copy over what a copy brought and nobody has read");
  }
  access_shared(region, first, count, AccessKind::write, place);
  Copy copy{from, {}, &region, first, thread_->num_groups, place};
  if (from != nullptr) std::memcpy(copy.bytes.data(), from, copy.bytes.size());
  unsigned char* const to = region.bytes.data() + static_cast<std::size_t>(first) * region.element_bytes;
  for (int32_t i = 0; i < kCopiedBytes; ++i) to[i] = static_cast<unsigned char>(random_());
  for (int32_t i = first; i < first + count; ++i) region.copied[static_cast<std::size_t>(i)] = CopyState::flies;
  thread_->copies.push_back(copy);
}

void Executor::end_copy(const Copy& copy) {
  SharedRegion& region = *copy.region;
  const auto count = kCopiedBytes / static_cast<int32_t>(region.element_bytes);
  if (copy.from != nullptr && std::memcmp(copy.from, copy.bytes.data(), copy.bytes.size()) != 0) {
    fail_access("shared", copy.place, "the source of a copy changed before its thread waited for it");
  }
  access_shared(region, copy.first, count, AccessKind::write, copy.place);
  unsigned char* const to = region.bytes.data() + static_cast<std::size_t>(copy.first) * region.element_bytes;
  std::memcpy(to, copy.bytes.data(), copy.bytes.size());
  for (int32_t i = copy.first; i < copy.first + count; ++i) {
    region.copied[static_cast<std::size_t>(i)] = CopyState::unread;
  }
}

void Executor::wait_for_copies() {
  for (const Copy& copy : thread_->copies) end_copy(copy);
  thread_->copies.clear();
}

void Executor::wait_for_older_copies(int32_t newest) {
  std::vector<Copy>& copies = thread_->copies;
  const int32_t end = thread_->num_groups - newest;
  const auto left = std::find_if(copies.begin(), copies.end(), [&](const Copy& copy) { return copy.group >= end; });
  std::for_each(copies.begin(), left, [&](const Copy& copy) { end_copy(copy); });
  copies.erase(copies.begin(), left);
}

}  // namespace hashevict::simt
