// SPDX-License-Identifier: Apache-2.0
#include "ratio.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <string_view>

namespace hashevict::bench {
namespace {

bool processor_time = false;

double now() {
  if (processor_time) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void use_processor_time() {
  processor_time = true;
}

bool uses_processor_time() {
  return processor_time;
}

double seconds(const Action& action, int repeats) {
  const double start = now();
  for (int i = 0; i < repeats; ++i) action();
  return (now() - start) / repeats;
}

double median(std::vector<double> values) {
  return figure_of(std::move(values)).value;
}

Figure figure_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t last = values.size() - 1;
  return {values[values.size() / 2], values[last / 4], values[last - last / 4]};
}

Ratio compare(const Action& first, const Action& second, int rounds, int repeats_first, int repeats_second) {
  std::vector<double> ratios, firsts, seconds_;
  seconds(first, 1);
  seconds(second, 1);
  for (int round = 0; round < rounds; ++round) {
    firsts.push_back(seconds(first, repeats_first));
    seconds_.push_back(seconds(second, repeats_second));
    ratios.push_back(firsts.back() / seconds_.back());
  }
  return {figure_of(std::move(ratios)), median(std::move(firsts)), median(std::move(seconds_))};
}

bool meets(double value, const std::string& limit) {
  if (limit.empty()) return true;
  const double bound = std::stod(limit.substr(3));
  return std::string_view(limit).substr(0, 2) == "<=" ? value <= bound : value >= bound;
}

nlohmann::json make_row(const RowName& name, const Figure& figure) {
  const bool met = meets(figure.value, name.limit);
  const std::string goal = name.limit.empty() ? "" : "goal " + name.limit + (met ? "  met" : "  NOT met");
  std::printf("%-36s %-52s %8.4g  %s\n", name.section.c_str(), name.name.c_str(), figure.value, goal.c_str());
  std::fflush(stdout);
  return {{"section", name.section}, {"name", name.name},   {"value", figure.value}, {"low", figure.low},
          {"high", figure.high},     {"limit", name.limit}, {"peer", name.peer}};
}

double fitted_exponent(const std::vector<std::pair<double, double>>& points) {
  const auto count = static_cast<double>(points.size());
  double x = 0, y = 0, xx = 0, xy = 0;
  for (const auto& [size, time] : points) {
    const double u = std::log(size), v = std::log(time);
    x += u;
    y += v;
    xx += u * u;
    xy += u * v;
  }
  return (count * xy - x * y) / (count * xx - x * x);
}

}  // namespace hashevict::bench
