// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "report.hpp"

namespace hashevict::eval {

/// The report as one self-contained page: no external resource, inline SVG, readable in light and dark mode and without
/// scripts.
std::string to_html(const Report& report);

}  // namespace hashevict::eval
