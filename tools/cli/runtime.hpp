// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/generate.hpp"

namespace hashevict::cli {

class Profile;
class Votes;

/// A model and its threads.
struct Runtime {
  const engine::Model& model;
  engine::ThreadPool& threads;
  const Votes* votes = nullptr;       ///< for the preset `recall`; may be null
  const Profile* profile = nullptr;   ///< of the model's heads; may be null
  std::optional<int32_t> floor = {};  ///< the fewest slots of a head where the profile divides them; none: a third of
                                      ///< the mean
  bool divides = true;                ///< whether the profile divides the slots; it teaches rules in any case
};

/// Creates a cache on the runtime's threads. Sets what its rule takes of the profile or, if the config has the preset
/// `recall` (centring FIXED), the votes.
/// @throws Error for an invalid config, or one that needs votes without them
engine::KvCache make_cache(const Runtime& runtime, const Config& config);

/// Adds to a trace what a cache of this config was taught, for `replay`.
void add_learned(const Runtime& runtime, const Config& config, engine::SafetensorsWriter& writer);

/// Divides the slots of a config among its heads: by the profile if that divides, or by the votes' shares if it takes
/// the votes. Otherwise leaves it alone. @throws Error as Profile::divide()
void divide_slots(const Runtime& runtime, Config& config, int64_t num_tokens);

/// The version of the library, as `0.2.0`.
std::string library_version();

/// Returns the tokens of a byte-level sequence: the mark that begins it, then one token a byte.
std::vector<int32_t> sequence_tokens(const engine::ModelConfig& model, std::string_view bytes);

}  // namespace hashevict::cli
