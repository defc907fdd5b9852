// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <hashevict/config.hpp>
#include <string>
#include <string_view>

#include "report.hpp"
#include "scores.hpp"

namespace hashevict::eval {

/// The most likely continuation of a byte-level prompt, `num_bytes` long, every prompt token streamed through a new
/// cache of this config. @throws Error
std::string continue_prompt(const Runtime& runtime, const Config& config, std::string_view prompt, int32_t num_bytes);

/// Sets `same_as_full` of all by comparison with the first.
void compare_with_first(ContinuationStudy& study);

/// Two texts in two columns of `width` characters each, for a terminal; line breaks of the texts are kept.
std::string side_by_side(std::string_view left_title, std::string_view left, std::string_view right_title,
                         std::string_view right, size_t width);

}  // namespace hashevict::eval
