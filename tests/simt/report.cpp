// SPDX-License-Identifier: Apache-2.0
#include "simt/report.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace hashevict::simt {
namespace {

/// All places that were numbered. A launch uses a few dozen and looks them up millions of times.
struct Places {
  struct Recent {
    Place place{nullptr, 0};
    uint16_t number = 0;
  };
  std::vector<Place> all;
  std::array<Recent, 256> recent;

  uint16_t number_of(const Place& place) {
    const std::size_t hash =
        (reinterpret_cast<std::uintptr_t>(place.file) ^ static_cast<std::size_t>(place.line)) % 256;
    Recent& slot = recent[hash];
    if (slot.place.file != place.file || slot.place.line != place.line) slot = {place, find(place)};
    return slot.number;
  }

  uint16_t find(const Place& place) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const Place& p) { return p.file == place.file && p.line == place.line; });
    const auto number = static_cast<uint16_t>(found - all.begin());
    if (found == all.end()) all.push_back(place);
    return number;
  }
};

thread_local Places places;

}  // namespace

uint16_t number_of(const Place& place) {
  return places.number_of(place);
}

Place place_of(uint16_t number) {
  return places.all[number];
}

std::string text_of(const Place& place) {
  const std::string path = place.file;
  return path.substr(path.rfind('/') + 1) + ":" + std::to_string(place.line);
}

std::string text_of_lanes(uint32_t mask) {
  std::string text;
  for (int first = 0; first < 32; ++first) {
    if ((mask >> first & 1U) == 0) continue;
    int last = first;
    while (last < 31 && (mask >> (last + 1) & 1U) != 0) ++last;
    if (!text.empty()) text += ",";
    text += std::to_string(first);
    if (last > first) {
      text += "-";
      text += std::to_string(last);
    }
    first = last;
  }
  return text;
}

}  // namespace hashevict::simt
