// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "report.hpp"

namespace hashevict::cli {

/// The page's section with the slots of each head, a column a layer and a row a head.
std::string divided_slots_html(const DividedSlots& divided);

}  // namespace hashevict::cli
