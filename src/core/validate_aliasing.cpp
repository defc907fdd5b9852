// SPDX-License-Identifier: Apache-2.0
#include "core/failure.hpp"
#include "core/validate.hpp"

namespace hashevict::core {
namespace {

void require_apart_from(const Footprint& tensor, const Ranges& ranges, const char* what) {
  if (!ranges.meets(tensor)) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected memory apart from the cache's {}", text_of(tensor.name()),
       tensor.data(), what);
}

}  // namespace

void validate_aliasing(const OwnMemory& own, std::span<const Footprint> written, std::span<const Footprint> read,
                       bool changes_state, const Footprint* in_place) {
  constexpr const char* kWritten = "keys, values, state and workspace";
  for (std::size_t i = 0; i < written.size(); ++i) {
    require_apart_from(written[i], own.written, kWritten);
    require_apart_from(written[i], own.tables, "block table");
    for (std::size_t j = i + 1; j < written.size(); ++j) require_apart(written[i], written[j]);
    for (const Footprint& input : read) {
      if (i > 0 || &input != in_place) require_apart(written[i], input);
    }
  }
  for (const Footprint& input : read) {
    if (changes_state) {
      require_apart_from(input, own.written, kWritten);
    } else {
      require_apart_from(input, own.workspace, "workspace");
    }
  }
}

}  // namespace hashevict::core
