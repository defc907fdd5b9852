// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "report.hpp"

namespace hashevict::cli {

/// A figure over the budget: a line for each policy with equal slots, dashed, and one with calibrated slots, all
/// starting from the full cache's value at 100 %.
struct Chart {
  std::string title;
  std::string y_label;
  std::string note;  ///< the better direction; shown beside the title
  double y_low = 0.0;
  double y_high = 1.0;
  int decimals = 2;      ///< of the axis' numbers
  bool compact = false;  ///< small, without labels at the lines' ends
  Estimate full;

  struct Point {
    double budget;
    Estimate value;
  };
  struct Line {
    std::string policy;
    bool calibrated = false;
    std::vector<Point> points;  ///< by falling budget
  };
  std::vector<Line> lines;
};

/// Draws the chart as one SVG element. Budgets are those of its lines. Colours are the page's `--<policy>` properties.
std::string to_svg(const Chart& chart);

/// Sets the axis to round numbers around all values and their errors.
void fit_axis(Chart& chart);

/// Draws the marker of a policy, centred at (x, y). Its shape distinguishes policies without colour.
std::string marker(const std::string& policy, double x, double y);

/// A text at (x, y), which is where the end that `anchor` names lies.
std::string svg_text(double x, double y, const char* css, const char* anchor, const std::string& content);

}  // namespace hashevict::cli
