// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "core/failure.hpp"

namespace hashevict::core {

/// Copies a size-versioned struct from a caller, who may have been compiled against a newer header. Fields that this
/// library does not know must be zero, since it could not honour them.
template <class T>
T read_versioned(const T* given, const char* name) {
  require(given != nullptr, "{} = NULL: expected a pointer", name);
  require(given->struct_size >= sizeof(T), "{}->struct_size = {}: expected {} (call the struct's init function)", name,
          given->struct_size, sizeof(T));
  constexpr std::size_t kSaneSize = 65536;
  require(given->struct_size <= kSaneSize, "{}->struct_size = {}: expected {} (call the struct's init function)", name,
          given->struct_size, sizeof(T));
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  const bool known = std::all_of(bytes + sizeof(T), bytes + given->struct_size, [](unsigned char b) { return b == 0; });
  require(known, "{}->struct_size = {}: fields beyond byte {} are set, which this version does not know", name,
          given->struct_size, sizeof(T));
  T copy;
  std::memcpy(&copy, given, sizeof(T));
  return copy;
}

/// Copies `result` into a caller's size-versioned struct, whose struct_size says how much of it there is.
template <class T>
void write_versioned(T result, T* target, const char* name) {
  require(target != nullptr, "{} = NULL: expected a pointer", name);
  require(target->struct_size >= sizeof(T), "{}->struct_size = {}: expected sizeof({}) = {}", name, target->struct_size,
          name, sizeof(T));
  result.struct_size = target->struct_size;
  std::memcpy(target, &result, sizeof(T));
}

}  // namespace hashevict::core
