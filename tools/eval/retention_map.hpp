// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "report.hpp"

namespace hashevict::eval {

/// The heat map: one panel per policy (row), layer and head (column). A token is a vertical line from the step that
/// brought it to the step that evicted it, so the shade of an area is the share of its tokens still held.
std::string retention_svg(const RetentionStudy& study);

/// The example's prompt as HTML, every byte shaded by the share of heads that held it when the question was asked.
std::string retained_text_html(const RetentionStudy& study, const Retention& retention);

}  // namespace hashevict::eval
