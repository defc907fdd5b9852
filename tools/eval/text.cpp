// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

#include <algorithm>

namespace hashevict::eval {
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

std::vector<std::string_view> cut_evenly(std::string_view text, size_t size, size_t count) {
  count = std::min(count, text.size() / size);
  std::vector<std::string_view> pieces;
  for (size_t i = 0; i < count; ++i) pieces.push_back(text.substr(i * (text.size() / count), size));
  return pieces;
}

}  // namespace hashevict::eval
