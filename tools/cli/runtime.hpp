// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generate.hpp"

namespace hashevict::cli {

class Votes;

/// A model and its threads.
struct Runtime {
  const engine::Model& model;
  engine::ThreadPool& threads;
  const Votes* votes = nullptr;  ///< for the preset `recall`; may be null
};

/// Creates a cache on the runtime's threads. Sets the votes if the config has the preset `recall` (centring FIXED).
/// @throws Error for an invalid config, or one that needs votes without them
engine::KvCache make_cache(const Runtime& runtime, const Config& config);

/// Divides the slots of a config that takes votes among its layers, by the votes' shares. Leaves other configs alone.
void divide_slots(const Runtime& runtime, Config& config, int64_t num_tokens);

/// The version of the library, as `0.2.0`.
std::string library_version();

/// Returns the tokens of a byte-level sequence: the mark that begins it, then one token a byte.
std::vector<int32_t> sequence_tokens(const engine::ModelConfig& model, std::string_view bytes);

}  // namespace hashevict::cli
