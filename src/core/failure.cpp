// SPDX-License-Identifier: Apache-2.0
#define FMT_HEADER_ONLY  // fmt's implementation costs seconds to compile: here, and nowhere else in the library
#include <fmt/format.h>

#include "core/failure.hpp"

namespace hashevict::core {

void fail_formatted(hashevict_status status, fmt::string_view format, fmt::format_args args) {
  throw Failure{status, fmt::vformat(format, args)};
}

}  // namespace hashevict::core
