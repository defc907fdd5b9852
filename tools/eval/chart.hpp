// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "report.hpp"

namespace hashevict::eval {

/// A figure over the budget: one line a policy, which falls away from the full cache's value at 100 %.
struct Chart {
  std::string title;
  std::string x_label = "budget: slots per token really seen";
  std::string y_label;
  std::string note;  ///< which way is better; stands beside the title
  double y_low = 0.0;
  double y_high = 1.0;
  int decimals = 2;      ///< of the axis' figures
  bool compact = false;  ///< small, without labels at the lines' ends
  Estimate full;

  struct Point {
    double budget;
    Estimate value;
  };
  struct Line {
    std::string policy;
    std::vector<Point> points;  ///< by falling budget
  };
  std::vector<Line> lines;
};

/// The chart as one SVG element. Budgets are those of its lines. Colours are the page's `--<policy>` properties.
std::string to_svg(const Chart& chart);

/// A colour for each policy of a chart, as a style sheet's rules: those that the page knows keep theirs.
std::string color_rules(const std::vector<std::string>& policies);

/// The chart as a file of its own, on white.
std::string to_svg_file(const Chart& chart);

/// Sets the axis to round figures around all values and their errors.
void fit_axis(Chart& chart);

/// The marker of a policy, centred at (x, y): its shape tells it apart where colour does not.
std::string marker(const std::string& policy, double x, double y);

}  // namespace hashevict::eval
