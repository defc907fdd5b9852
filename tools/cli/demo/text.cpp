// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace hashevict::cli {
namespace {

void append_printable(std::string& text, char byte) {
  const bool plain = (byte >= ' ' && byte <= '~') || byte == '\n';
  text += plain ? std::string_view(&byte, 1) : std::string_view("·");
}

}  // namespace

std::string printable(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) append_printable(text, byte);
  return text;
}

std::string escape_html(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    switch (byte) {
      case '&':
        text += "&amp;";
        break;
      case '<':
        text += "&lt;";
        break;
      case '>':
        text += "&gt;";
        break;
      case '"':
        text += "&quot;";
        break;
      default:
        append_printable(text, byte);
    }
  }
  return text;
}

std::string one_line(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    if (byte == '\n') {
      text += "⏎";
    } else {
      append_printable(text, byte);
    }
  }
  return text;
}

std::string percent(double share) {
  return fmt::format("{:.10g}", 100.0 * share);  // ten digits: 100 times 0.57 is 56.99999999999999 in binary
}

std::vector<std::string_view> cut_evenly(std::string_view text, size_t size, size_t count) {
  count = std::min(count, text.size() / size);
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < count; ++i) pieces.push_back(text.substr(i * (text.size() / count), size));
  return pieces;
}

std::string prompt_within(std::string_view text, size_t size) {
  const size_t third = (text.size() - size) / 3;
  const size_t newline = text.find('\n', third);
  const bool fits = newline != std::string_view::npos && newline + 1 + size <= text.size();
  return std::string(text.substr(fits ? newline + 1 : third, size));
}

size_t num_shared(std::string_view a, std::string_view b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace hashevict::cli
