// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "profile_files.hpp"
#include "replay_files.hpp"
#include "support/twins.hpp"

namespace hashevict::test {

/// A replay that the oracle repeats.
struct ReplayCase {
  std::string name;
  std::vector<std::string> arguments;  ///< equivalent to the fields below
  Config config = trace_config();
  DType dtype = DType::float32;
  Flavour flavour = Flavour::normal;
  std::size_t num_tokens = 60;
  std::size_t prompt = 0;
  reference::PrefillMode mode = reference::PrefillMode::replay;
  int32_t window = 32;
  bool own_projection = false;
  bool own_center = false;
  FloatTensors profile = {};  ///< written for `--profile`, if not empty
};

inline void PrintTo(const ReplayCase& c, std::ostream* stream) {
  *stream << c.name;
}

/// A case of 60 tokens under policy hash.
ReplayCase replay_case(std::string name, std::vector<std::string> arguments, int32_t capacity, int32_t bits);

/// Draws a trace for the case, replays it by the command, and expects in the output what the oracle says.
void expect_what_the_oracle_says(const ReplayCase& c, uint32_t seed);

/// A seed of the running test's own.
uint32_t seed_of_this_test();

}  // namespace hashevict::test
