// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "eval/report.hpp"
#include "summary.hpp"

namespace hashevict::eval {

/// Score over budget, a figure for each section and group of policies; the full cache, the oracle and random eviction
/// are in all.
std::vector<Figure> make_figures(const Evaluation& evaluation);

/// Streams one example through each policy at one budget and notes when each head lets go of each token.
RetentionStudy study_retention(const Runtime& runtime, const EvalOptions& options);

/// The page: the figures, and what each layer and head retained.
std::string to_page(const Evaluation& evaluation, const RetentionStudy& study);

}  // namespace hashevict::eval
