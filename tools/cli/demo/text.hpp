// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hashevict::cli {

/// Converts bytes to UTF-8, one character a byte: a byte other than printable ASCII and newline becomes a middle dot.
std::string printable(std::string_view bytes);

/// As above, with HTML's markup characters escaped.
std::string escape_html(std::string_view bytes);

/// As above, on one line: newlines become a return symbol.
std::string one_line(std::string_view bytes);

/// Formats a share in percent, with the digits that it needs: `30`, `12.5`.
std::string percent(double share);

/// Cuts up to `count` disjoint pieces of `size` bytes, spread evenly over the text.
std::vector<std::string_view> cut_evenly(std::string_view text, size_t size, size_t count);

/// Returns a prompt of `size` bytes: after the title and the contents of a text, at the start of a line if one begins
/// early enough. @param text at least `size` bytes
std::string prompt_within(std::string_view text, size_t size);

/// Leading bytes that two texts share.
size_t num_shared(std::string_view a, std::string_view b);

}  // namespace hashevict::cli
