// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/backend.hpp"

/// A sequence's whole state as bytes, independent of backend, layout and batch. Keys and values are dense, in slot
/// order. The header lists everything that a cache must share to continue from the state; a checksum covers the rest.
namespace hashevict {

/// An upper bound on the bytes of a sequence's snapshot.
uint64_t snapshot_bytes(const core::Storage& storage);

/// Writes the state of `sequence`; returns the bytes used. Fails with INVALID_ARGUMENT if `buffer` is too small.
uint64_t save_snapshot(Backend& backend, int32_t sequence, std::span<std::byte> buffer, hashevict_stream stream);

/// Replaces the state of `sequence`. Fails with INVALID_DATA, and changes nothing, if the bytes are damaged or come
/// from a cache that differs in shape, rule or projection.
void load_snapshot(Backend& backend, int32_t sequence, std::span<const std::byte> buffer, hashevict_stream stream);

}  // namespace hashevict
