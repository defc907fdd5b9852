// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "eval/report.hpp"

namespace hashevict::eval {

/// The mean of the strata's means, each stratum counting the same, and its standard error: that of independent
/// samples within each stratum, so that what lies between strata (tasks are not equally hard) is no error.
Estimate stratified(const std::vector<std::vector<double>>& strata);

/// Spearman's rank correlation, equal values sharing their mean rank; 0 if either side is constant.
/// @param a, b of equal length, at least 2
double rank_correlation(std::span<const float> a, std::span<const float> b);

}  // namespace hashevict::eval
