// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "eval/report.hpp"
#include "experiment.hpp"

namespace hashevict::eval {

/// Does what one query says of the cache hold for later queries? For a score at step t, Spearman's correlation over all
/// cached positions with the attention that the query at t + lag pays them.
struct Correlation {
  std::string score;             ///< `<bits> bits`, or what is computed exactly
  std::vector<Estimate> by_lag;  ///< in the order of kLags; a sample is one text
};

inline constexpr std::array<int32_t, 6> kLags = {0, 1, 4, 16, 64, 256};

/// Over as many pieces of running text as there are examples and seeds, or as the text holds without overlap: empty if
/// it does not hold one a seed. Lags that the length leaves no room for have no samples.
std::vector<Correlation> correlate(const Runtime& runtime, const EvalOptions& options);

}  // namespace hashevict::eval
