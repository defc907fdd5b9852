// SPDX-License-Identifier: Apache-2.0
#include "simt/report.hpp"

namespace hashevict::simt {

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
    if (last > first) text += "-" + std::to_string(last);
    first = last;
  }
  return text;
}

}  // namespace hashevict::simt
