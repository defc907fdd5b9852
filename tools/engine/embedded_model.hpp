// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "model.hpp"

namespace hashevict::engine {

/// The trained tiny model that is compiled into the program (`assets/tiny-llama`): byte-level, see `ByteTokenizer`.
Model load_embedded_model();

/// The text that is compiled into the program beside it (`assets/text/sample.txt`).
std::string_view embedded_sample_text();

}  // namespace hashevict::engine
