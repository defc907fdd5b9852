// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/backend.hpp"

/// Places a layer's part of a snapshot in the file and in backend memory. It uses as few copies as the strides allow.
namespace hashevict::snapshot {

/// Whether a snapshot stores an array as a part of its own. Counters are in the layer's header, or derived from it.
inline bool travels(const core::StatePart& part) {
  return part.of_sequences() && part.bytes() > 0 && part.content != core::Content::counter &&
         part.content != core::Content::per_head && part.content != core::Content::tickets;
}

/// Bytes between the slots of neighbouring heads of a layer, or -1 if heads differ in capacity or distance.
inline int64_t common_head_stride(std::span<const core::HeadSettings> heads) {
  const int64_t stride = heads.size() > 1 ? heads[1].slots_offset - heads[0].slots_offset : 0;
  for (std::size_t i = 1; i < heads.size(); ++i) {
    if (heads[i].capacity != heads[0].capacity) return -1;
    if (heads[i].slots_offset != heads[i - 1].slots_offset + stride) return -1;
  }
  return stride < 0 ? -1 : stride;
}

/// Calls `visit(backend_memory, offset, runs, content)` for every array of a layer's state that travels. `offset` is
/// its place in the layer's part of a file, whose strides are the host's. Of arrays over slots, those travel that are
/// valid after `tokens_seen` tokens, head by head. Returns the bytes of all arrays.
template <class Visit>
uint64_t visit_state(const core::Storage& storage, int32_t layer, int32_t sequence, int32_t tokens_seen,
                     const Visit& visit) {
  const std::span<const core::HeadSettings> heads = storage.settings.heads_of(layer);
  uint64_t offset = 0;
  const auto visit_runs = [&](std::byte* memory, const Runs& runs, core::Content content) {
    if (runs.bytes > 0) visit(memory, offset, runs, content);
    offset += runs.bytes * runs.count;
  };
  for (const core::StatePart& part : storage.parts(layer)) {
    if (!travels(part)) continue;
    if (part.scope != core::Scope::slot) {
      visit_runs(part.of(sequence), Runs{static_cast<uint64_t>(part.bytes())}, part.content);
    } else if (storage.layer(layer).is_uniform()) {
      const auto bytes = static_cast<uint64_t>(part.item_bytes * heads[0].length(tokens_seen));
      const auto stride = static_cast<uint64_t>(part.item_bytes * heads[0].padded_capacity());
      visit_runs(part.of(sequence), Runs{bytes, heads.size(), bytes, stride}, part.content);
    } else {
      for (const core::HeadSettings& head : heads) {
        visit_runs(part.of(sequence) + part.item_bytes * head.first_slot,
                   Runs{static_cast<uint64_t>(part.item_bytes * head.length(tokens_seen))}, part.content);
      }
    }
  }
  return offset;
}

/// Calls `visit(backend_memory, offset, runs, content)` for all key rows, head by head, then for all value rows. A run
/// covers several slots or several heads, whichever have no gaps between their slots.
/// @param pages [num_kv_heads] the row of the block table of each head; empty if the layout has no pages
template <class Visit>
void visit_rows(const core::Storage& storage, int32_t layer, int32_t sequence, int32_t tokens_seen,
                std::span<const int32_t* const> pages, const Visit& visit) {
  const core::Layer& own = storage.layer(layer);
  const std::span<const core::HeadSettings> heads = storage.settings.heads_of(layer);
  const int64_t row = own.shape.format.row_bytes();
  const int64_t head_stride = common_head_stride(heads);
  // Heads side by side, so one run has them all.
  const bool together = head_stride >= 0 && own.kv.slot_stride == row && own.table.num_heads == 0;
  const auto visit_runs = [&](std::byte* memory, int64_t offset, int64_t bytes, int64_t count, int64_t host_stride,
                              int64_t memory_stride) {
    visit(memory, static_cast<uint64_t>(offset),
          Runs{static_cast<uint64_t>(bytes), static_cast<uint64_t>(count), static_cast<uint64_t>(host_stride),
               static_cast<uint64_t>(memory_stride)},
          core::Content::plain);
  };
  int64_t offset = 0;
  for (void* const base : {own.keys, own.values}) {
    for (std::size_t kv_head = 0; kv_head < heads.size(); kv_head += together ? heads.size() : 1) {
      const core::SlotAddress address =
          own.kv.address(sequence, heads[kv_head].slots_offset, pages.empty() ? nullptr : pages[kv_head]);
      const int32_t length = heads[kv_head].length(tokens_seen);
      for (int32_t slot = 0; slot < length;) {
        const int32_t run = std::min(address.run(slot), length - slot);
        std::byte* const memory = static_cast<std::byte*>(base) + address(slot);
        if (together) {
          visit_runs(memory, offset + slot * row, run * row, static_cast<int64_t>(heads.size()), length * row,
                     head_stride);
        } else if (own.kv.slot_stride == row) {
          visit_runs(memory, offset + slot * row, run * row, 1, 0, 0);
        } else {
          visit_runs(memory, offset + slot * row, row, run, row, address.slot_stride);
        }
        slot += run;
      }
      offset += (together ? static_cast<int64_t>(heads.size()) : 1) * length * row;
    }
  }
}

}  // namespace hashevict::snapshot
