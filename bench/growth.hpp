// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace hashevict::bench {

/// How the time of an operation grows with one size, all others fixed.
struct Growth {
  std::string name;
  std::function<nlohmann::json(const std::string& name, int rounds)> measure;  ///< the fitted exponent, as a row
};

/// Eviction and attention against capacity, sequences, bits, head size, group and threads.
std::vector<Growth> all_growths();

}  // namespace hashevict::bench
