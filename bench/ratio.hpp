// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace hashevict::bench {

using Action = std::function<void()>;

/// From now on times are processor time of the program, which other programs disturb little. For work on one thread.
void use_processor_time();

/// Whether use_processor_time() was called.
bool uses_processor_time();

/// Seconds of one call of `action`, as a mean over `repeats` calls.
double seconds(const Action& action, int repeats);

/// Median of at least one value.
double median(std::vector<double> values);

/// A figure and its spread over the rounds of a run: half of the rounds lie between `low` and `high`.
struct Figure {
  double value;  ///< median
  double low, high;
};

/// Median and quartiles of at least one value.
Figure figure_of(std::vector<double> values);

struct Ratio {
  Figure ratio;          ///< first / second, round by round
  double first, second;  ///< medians, in seconds
};

/// Measures two actions in turn, after one call of each.
Ratio compare(const Action& first, const Action& second, int rounds, int repeats_first, int repeats_second);

/// What a row of the table is about.
struct RowName {
  std::string section;
  std::string name;
  std::string limit;  ///< such as ">= 0.85"; empty: none
  std::string peer;   ///< what the other side of the ratio is
};

/// Whether a value meets a limit such as "<= 0.02". An empty limit is met.
bool meets(double value, const std::string& limit);

/// Prints a row and returns it as JSON: bench/table.py reads it.
nlohmann::json make_row(const RowName& name, const Figure& figure);

/// The exponent e of time ~ size^e that fits best, by least squares over the logarithms.
/// @param points (size, time), at least two of different sizes
double fitted_exponent(const std::vector<std::pair<double, double>>& points);

}  // namespace hashevict::bench
