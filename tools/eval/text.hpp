// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hashevict::eval {

/// Bytes as text that is valid everywhere: one character per byte; bytes that are neither printable ASCII nor a
/// newline become a middle dot.
std::string printable(std::string_view bytes);

/// The same for HTML: markup characters escaped.
std::string escape_html(std::string_view bytes);

/// On one line: newlines become a return symbol.
std::string one_line(std::string_view bytes);

/// Up to `count` pieces of `size` bytes, spread evenly over the text; none overlaps another.
std::vector<std::string_view> cut_evenly(std::string_view text, size_t size, size_t count);

}  // namespace hashevict::eval
