// SPDX-License-Identifier: Apache-2.0
#include "text.hpp"

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

}  // namespace hashevict::eval
