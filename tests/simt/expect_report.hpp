// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "executor_launches.hpp"

namespace hashevict::simt {

/// Expects a fault under every seed. The report must contain all of `words`, and the seed.
template <class Kernel>
void expect_report(Launch launch, const std::vector<std::string>& words, const Kernel& kernel) {
  for (launch.seed = 0; launch.seed < kSeeds; ++launch.seed) {
    try {
      run(launch, kernel);
      ADD_FAILURE() << "nothing was reported under seed " << launch.seed;
    } catch (const Report& report) {
      const std::string text = report.what();
      for (const std::string& word : words) EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
      EXPECT_NE(text.find("seed " + std::to_string(launch.seed)), std::string::npos) << text;
    }
  }
}

}  // namespace hashevict::simt
