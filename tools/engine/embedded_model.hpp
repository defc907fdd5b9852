// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "model.hpp"
#include "safetensors.hpp"

namespace hashevict::engine {

/// The trained tiny model that is compiled into the program (`assets/tiny-llama`): byte-level, see `ByteTokenizer`.
Model load_embedded_model();

/// The votes that `lab/train/calibrate.py` learned for this model, for the preset `recall`
/// (`assets/tiny-llama/recall.safetensors`).
Safetensors embedded_votes();

/// What `python -m hashevict.calibrate` learned of this model's heads from ordinary text, without tasks
/// (`assets/tiny-llama/profile.safetensors`).
Safetensors embedded_profile();

/// The text that is compiled into the program (`assets/text/sample.txt`).
std::string_view embedded_sample_text();

}  // namespace hashevict::engine
