// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/failure.hpp"
#include "hashevict/hashevict.h"

/// Structs that carry their size. Caller and library use the fields of the older of their two headers. A field that one
/// side lacks counts as zero, and zero selects the behaviour of a library without the field.
namespace hashevict::core {

// The size of each struct in 0.2, the oldest header that a caller may have. It never changes.
constexpr std::size_t oldest_size(const hashevict_config* /*type*/) {
  return offsetof(hashevict_config, execution) + sizeof(hashevict_execution);
}
constexpr std::size_t oldest_size(const hashevict_bytes* /*type*/) {
  return offsetof(hashevict_bytes, total) + sizeof(uint64_t);
}
constexpr std::size_t oldest_size(const hashevict_memory* /*type*/) {
  return offsetof(hashevict_memory, workspace_bytes) + sizeof(uint64_t);
}
constexpr std::size_t oldest_size(const hashevict_prefill_args* /*type*/) {
  return offsetof(hashevict_prefill_args, window) + sizeof(int32_t);
}
constexpr std::size_t oldest_size(const hashevict_evict_args* /*type*/) {
  return offsetof(hashevict_evict_args, victims) + sizeof(hashevict_tensor);
}
constexpr std::size_t oldest_size(const hashevict_append_args* /*type*/) {
  return offsetof(hashevict_append_args, victims) + sizeof(hashevict_tensor);
}
constexpr std::size_t oldest_size(const hashevict_attend_args* /*type*/) {
  return offsetof(hashevict_attend_args, softmax) + sizeof(hashevict_softmax);
}
constexpr std::size_t oldest_size(const hashevict_decode_args* /*type*/) {
  return offsetof(hashevict_decode_args, softmax) + sizeof(hashevict_softmax);
}
constexpr std::size_t oldest_size(const hashevict_view* /*type*/) {
  return offsetof(hashevict_view, tokens_seen) + sizeof(hashevict_tensor);
}
constexpr std::size_t oldest_size(const hashevict_statistics* /*type*/) {
  return offsetof(hashevict_statistics, kv_bytes_full) + sizeof(uint64_t);
}
constexpr std::size_t oldest_size(const hashevict_capabilities* /*type*/) {
  return offsetof(hashevict_capabilities, host_memory_bytes) + sizeof(uint64_t);
}

/// Refuses a size that no version of the struct has had or is likely to have.
template <class T>
void check_struct_size(const T* type, std::size_t size, const char* name) {
  constexpr std::size_t kSaneSize = 65536;
  require(size >= oldest_size(type) && size <= kSaneSize,
          "{}->struct_size = {}: expected {} to {} (call the struct's init function, or give its sizeof)", name, size,
          oldest_size(type), kSaneSize);
}

/// Copies a size-versioned struct from a caller whose header may be older or newer. Fields that this library does not
/// know must be zero, since it could not honour them.
template <class T>
T read_versioned(const T* given, const char* name) {
  require(given != nullptr, "{} = NULL: expected a pointer", name);
  check_struct_size(given, given->struct_size, name);
  const std::size_t known = std::min(given->struct_size, sizeof(T));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  require(std::all_of(bytes + known, bytes + given->struct_size, [](unsigned char b) { return b == 0; }),
          "{}->struct_size = {}: fields beyond byte {} are set, which this version does not know", name,
          given->struct_size, sizeof(T));
  T copy{};
  std::memcpy(&copy, given, known);
  return copy;
}

/// Fills a caller's struct of `size` bytes with `values`: as many bytes as both have, then zeros.
template <class T>
void write_sized(T values, T* target, std::size_t size, const char* name) {
  require(target != nullptr, "{} = NULL: expected a pointer", name);
  check_struct_size(target, size, name);
  values.struct_size = size;
  const std::size_t known = std::min(size, sizeof(T));
  std::memcpy(target, &values, known);
  std::memset(reinterpret_cast<unsigned char*>(target) + known, 0, size - known);
}

/// Fills a caller's struct that states its own size.
template <class T>
void write_versioned(const T& values, T* target, const char* name) {
  require(target != nullptr, "{} = NULL: expected a pointer", name);
  write_sized(values, target, target->struct_size, name);
}

}  // namespace hashevict::core
