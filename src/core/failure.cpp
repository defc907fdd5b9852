// SPDX-License-Identifier: Apache-2.0
#define FMT_HEADER_ONLY  // fmt's implementation takes seconds to compile, so only this file contains it
#include <fmt/format.h>

#include "core/failure.hpp"

namespace hashevict::core {

void fail_formatted(hashevict_status status, fmt::string_view format, fmt::format_args args) {
  throw Failure{status, fmt::vformat(format, args)};
}

}  // namespace hashevict::core
