// SPDX-License-Identifier: Apache-2.0
#include "eval/chart.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace hashevict::eval {
namespace {

Chart chart_with(std::initializer_list<double> values) {
  Chart chart;
  chart.full.mean = *values.begin();
  Chart::Line line{"paper", {}};
  for (const double value : values) line.points.push_back({0.5, {value, 0.0, 1}});
  chart.lines.push_back(line);
  return chart;
}

TEST(Chart, AxisHoldsAllValues) {
  for (const auto& values :
       {std::initializer_list<double>{1.156, 1.18}, {0.0, 1.0}, {2.0, 2.0}, {1.3, 1.439}, {9.99, 10.01}}) {
    Chart chart = chart_with(values);
    fit_axis(chart);
    for (const double value : values) {
      EXPECT_LE(chart.y_low, value);
      EXPECT_GE(chart.y_high, value);
    }
  }
}

TEST(Chart, AxisFiguresAreExactAtItsDecimals) {
  Chart chart = chart_with({1.156, 1.18});
  fit_axis(chart);
  const double scale = std::pow(10.0, chart.decimals);
  for (int i = 0; i <= 4; ++i) {
    const double figure = scale * (chart.y_low + (chart.y_high - chart.y_low) * i / 4);
    EXPECT_NEAR(figure, std::round(figure), 1e-6);
  }
}

TEST(Chart, EveryPolicyHasAMarkerOfItsOwn) {
  EXPECT_NE(marker("paper", 0, 0), marker("superseded", 0, 0));
  EXPECT_NE(marker("paper", 0, 0), marker("random", 0, 0));
  EXPECT_NE(marker("window", 0, 0), marker("random", 0, 0));
}

}  // namespace
}  // namespace hashevict::eval
