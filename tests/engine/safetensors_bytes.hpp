// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string>

#include "engine/safetensors.hpp"

namespace hashevict::engine {

/// Returns a safetensors file with this header, followed by its data.
inline std::string file_of(const std::string& header, const std::string& data = std::string(16, '\0')) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return file + header + data;
}

inline Safetensors parse(const std::string& file) {
  return Safetensors::parse(std::as_bytes(std::span(file)), "memory");
}

}  // namespace hashevict::engine
