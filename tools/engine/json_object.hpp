// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace hashevict::engine {

/// Formats a value for messages: one line of ASCII, of bounded length.
std::string quote(const nlohmann::json& value);

/// Parses an object as RFC 8259 defines it. Also refuses duplicate names, invalid UTF-8, a byte-order mark, a NUL byte,
/// NaN, numbers beyond double, anything behind the object, and nesting deeper than `max_depth`.
/// @param source stands in messages for the file's name
/// @param subject the part of the file that is parsed, with a trailing blank; empty for the whole file
/// @throws Error invalid_data
nlohmann::json parse_json_object(std::string_view text, const std::string& source, int max_depth,
                                 const std::string& subject = "");

}  // namespace hashevict::engine
