// SPDX-License-Identifier: Apache-2.0
#include "chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <string_view>

#include "policies.hpp"

namespace hashevict::eval {
namespace {

// Where everything lies, in pixels.
struct Frame {
  double width, height, left, right, top, bottom;

  explicit Frame(bool compact)
      : width(compact ? 250 : 548),
        height(compact ? 200 : 340),
        left(compact ? 34 : 56),
        right(compact ? 12 : 132),
        top(compact ? 30 : 46),
        bottom(compact ? 34 : 52) {}
  double plot_width() const { return width - left - right; }
  double plot_height() const { return height - top - bottom; }
};

class Drawing {
 public:
  explicit Drawing(const Chart& chart) : chart_(chart), frame_(chart.compact) {
    for (const Chart::Line& line : chart.lines) {
      for (const Chart::Point& point : line.points) budgets_.insert(point.budget);
    }
    budgets_.insert(1.0);
  }

  std::string draw() {
    svg_ = fmt::format("<svg class=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", frame_.width,
                       frame_.height, chart_.title);
    draw_title();
    draw_axes();
    draw_full();
    for (const Chart::Line& line : chart_.lines) draw_line(line);
    if (!chart_.compact) draw_labels();
    return svg_ + "</svg>\n";
  }

 private:
  double x(double budget) const {
    const double range = std::max(1.0 - *budgets_.rbegin(), 1e-6);
    return frame_.left + (1.0 - budget) / range * frame_.plot_width();
  }

  double y(double value) const {
    const double share = (value - chart_.y_low) / (chart_.y_high - chart_.y_low);
    return frame_.top + (1.0 - std::clamp(share, 0.0, 1.0)) * frame_.plot_height();
  }

  void text(double at_x, double at_y, const char* css, const char* anchor, const std::string& content) {
    svg_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n", at_x, at_y, css,
                        anchor, content);
  }

  void line(double x1, double y1, double x2, double y2, const char* css) {
    svg_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\" />\n", x1, y1, x2,
                        y2, css);
  }

  void draw_title() {
    text(chart_.compact ? frame_.left : 0, 14, "title", "start", chart_.title);
    if (!chart_.compact)
      text(0, 32, "note", "start", chart_.y_label + (chart_.note.empty() ? "" : " · " + chart_.note));
  }

  void draw_axes() {
    const int steps = chart_.compact ? 2 : 4;
    for (int i = 0; i <= steps; ++i) {
      const double value = chart_.y_low + (chart_.y_high - chart_.y_low) * i / steps;
      line(frame_.left, y(value), frame_.width - frame_.right, y(value), "grid");
      text(frame_.left - 7, y(value) + 4, "tick", "end", fmt::format("{:.{}f}", value, chart_.decimals));
    }
    const double base = frame_.top + frame_.plot_height();
    for (const double budget : budgets_) {
      text(x(budget), base + 17, "tick", "middle", fmt::format("{:.0f} %", 100.0 * budget));
    }
    if (!chart_.compact) {
      text(frame_.left + frame_.plot_width() / 2, base + 38, "note", "middle", chart_.x_label);
    }
  }

  void draw_full() {
    line(frame_.left, y(chart_.full.mean), frame_.width - frame_.right, y(chart_.full.mean), "reference");
  }

  void draw_line(const Chart::Line& line_data) {
    std::string path;
    if (line_data.points.front().budget < 1.0) path = fmt::format("M{:.1f} {:.1f}", x(1.0), y(chart_.full.mean));
    std::string marks;
    for (const Chart::Point& point : line_data.points) {
      const double at_x = x(point.budget);
      const double mean = point.value.mean;
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? 'M' : 'L', at_x, y(mean));
      marks += fmt::format("<g><title>{} at {:.0f} %: {:.3f} ± {:.3f}</title>", line_data.policy, 100.0 * point.budget,
                           mean, point.value.error);
      marks += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"error\" />", at_x,
                           y(mean - point.value.error), y(mean + point.value.error));
      marks += marker(line_data.policy, at_x, y(mean)) + "</g>\n";
    }
    svg_ += fmt::format("<g class=\"series {}\"><path d=\"{}\" />\n{}</g>\n", line_data.policy, path, marks);
  }

  // Names stand where the lines end, pushed apart where they would meet.
  void draw_labels() {
    struct Label {
      std::string policy;
      double at;
    };
    std::vector<Label> labels = {{std::string(kFull), y(chart_.full.mean)}};
    for (const Chart::Line& line_data : chart_.lines) {
      labels.push_back({line_data.policy, y(line_data.points.back().value.mean)});
    }
    std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.at < b.at; });
    constexpr double kHeight = 16.0;
    for (size_t i = 1; i < labels.size(); ++i) labels[i].at = std::max(labels[i].at, labels[i - 1].at + kHeight);
    double limit = frame_.top + frame_.plot_height();
    for (size_t i = labels.size(); i > 0; --i, limit -= kHeight) labels[i - 1].at = std::min(labels[i - 1].at, limit);
    for (const Label& label : labels) {
      svg_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"label {}\">{}</text>\n",
                          frame_.width - frame_.right + 12, label.at + 4, label.policy, label.policy);
    }
  }

  const Chart& chart_;
  Frame frame_;
  std::set<double, std::greater<>> budgets_;
  std::string svg_;
};

// Red, green and blue of each policy, with blanks between.
std::vector<std::string_view> colors_of(const std::vector<std::string>& policies) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kKnown = {{
      {"full", "28 31 36"},
      {"paper", "201 66 41"},
      {"superseded", "14 107 184"},
      {"recall", "190 50 130"},
      {"window", "124 92 176"},
      {"random", "26 131 94"},
      {"oracle_sum", "120 124 130"},
  }};
  static constexpr std::array<std::string_view, 7> kOthers = {"214 134 16", "20 150 165", "140 86 40",  "95 140 20",
                                                              "80 80 200",  "170 150 20", "225 105 105"};
  std::vector<std::string_view> colors;
  size_t next = 0;
  for (const std::string& policy : policies) {
    const auto* known = std::find_if(kKnown.begin(), kKnown.end(), [&](const auto& k) { return k.first == policy; });
    colors.push_back(known != kKnown.end() ? known->second : kOthers[next++ % kOthers.size()]);
  }
  return colors;
}

// What color_rules() says, for a file of its own: not every program that draws SVG knows variables, or colours without
// commas.
std::string plain_color_rules(const std::vector<std::string>& policies) {
  const std::vector<std::string_view> colors = colors_of(policies);
  std::string rules;
  for (size_t i = 0; i < policies.size(); ++i) {
    std::string color(colors[i]);
    std::replace(color.begin(), color.end(), ' ', ',');
    rules += fmt::format(".{} {{ color: rgb({}); }}\n", policies[i], color);
  }
  return rules;
}

}  // namespace

std::string to_svg(const Chart& chart) {
  return Drawing(chart).draw();
}

std::string color_rules(const std::vector<std::string>& policies) {
  const std::vector<std::string_view> colors = colors_of(policies);
  std::string rules;
  for (size_t i = 0; i < policies.size(); ++i) rules += fmt::format(".{} {{ --c: {}; }}\n", policies[i], colors[i]);
  return rules;
}

std::string to_svg_file(const Chart& chart) {
  constexpr std::string_view kFileStyle =
      "svg { background: #ffffff; font-family: system-ui, sans-serif; overflow: visible; }\n"
      "text { fill: #1c1f24; font-size: 12.5px; } .title { font-weight: 640; font-size: 15px; }\n"
      ".note, .tick { fill: #626a75; } .tick { font-size: 11px; } .label { fill: currentColor; font-size: 12.5px; }\n"
      ".grid { stroke: #e2e3e0; } .reference { stroke: #1c1f24; stroke-dasharray: 4 4; stroke-opacity: .55; }\n"
      ".series path { fill: none; stroke: currentColor; stroke-width: 2; } .error { stroke: currentColor; }\n"
      ".series rect, .series circle, .series polygon { fill: currentColor; stroke: #ffffff; }\n";
  std::vector<std::string> policies{std::string(kFull)};
  for (const Chart::Line& line : chart.lines) policies.push_back(line.policy);
  std::string svg = to_svg(chart);
  const size_t first_end = svg.find('>');
  svg.insert(first_end + 1, fmt::format("\n<style>\n{}{}</style>", kFileStyle, plain_color_rules(policies)));
  svg.insert(svg.find(' '), " xmlns=\"http://www.w3.org/2000/svg\"");
  return svg;
}

std::string marker(const std::string& policy, double x, double y) {
  if (policy == "paper") {
    return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"7.6\" height=\"7.6\" />", x - 3.8, y - 3.8);
  }
  if (policy == "window") {
    return fmt::format("<polygon points=\"{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}\" />", x, y - 5.0, x + 4.8, y + 3.6,
                       x - 4.8, y + 3.6);
  }
  if (policy == "random") {
    return fmt::format("<polygon points=\"{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}\" />", x, y - 5.2,
                       x + 5.2, y, x, y + 5.2, x - 5.2, y);
  }
  return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.3\" />", x, y);
}

void fit_axis(Chart& chart) {
  double low = chart.full.mean;
  double high = chart.full.mean;
  for (const Chart::Line& line : chart.lines) {
    for (const Chart::Point& point : line.points) {
      low = std::min(low, point.value.mean - point.value.error);
      high = std::max(high, point.value.mean + point.value.error);
    }
  }
  // Four intervals of 1, 2, 2.5 or 5 times a power of ten.
  const double rough = std::max(high - low, 1e-6) / 4.0;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0, 10.0, 20.0}) {
    const double step = factor * power;
    chart.y_low = std::floor(low / step) * step;
    chart.y_high = chart.y_low + 4.0 * step;
    chart.decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(power)))) + (factor == 2.5 ? 1 : 0);
    if (chart.y_high >= high) return;
  }
}

}  // namespace hashevict::eval
