// SPDX-License-Identifier: Apache-2.0
#include "chart.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "policies.hpp"
#include "text.hpp"

namespace hashevict::cli {
namespace {

// Positions and sizes, in pixels.
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
    svg_ += svg_text(at_x, at_y, css, anchor, content);
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
      text(x(budget), base + 17, "tick", "middle", percent(budget) + " %");
    }
    if (!chart_.compact) {
      text(frame_.left + frame_.plot_width() / 2, base + 38, "note", "middle", "budget: slots per token really seen");
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
      marks += fmt::format("<g><title>{} at {} %: {:.3f} ± {:.3f}</title>", name_of(line_data), percent(point.budget),
                           mean, point.value.error);
      marks += fmt::format("<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"error\" />", at_x,
                           y(mean - point.value.error), y(mean + point.value.error));
      marks += marker(line_data.policy, at_x, y(mean)) + "</g>\n";
    }
    svg_ += fmt::format("<g class=\"series {}{}\"><path d=\"{}\" />\n{}</g>\n", line_data.policy,
                        line_data.calibrated ? "" : " equal", path, marks);
  }

  static std::string name_of(const Chart::Line& line_data) {
    return line_data.policy + (line_data.calibrated ? "" : ", equal");
  }

  // Places names at the ends of the lines, moved apart if they would overlap.
  void draw_labels() {
    struct Label {
      std::string policy, name;
      double at;
    };
    std::vector<Label> labels = {{std::string(kFull), std::string(kFull), y(chart_.full.mean)}};
    for (const Chart::Line& line_data : chart_.lines) {
      labels.push_back({line_data.policy, name_of(line_data), y(line_data.points.back().value.mean)});
    }
    std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.at < b.at; });
    constexpr double kHeight = 16.0;
    for (size_t i = 1; i < labels.size(); ++i) labels[i].at = std::max(labels[i].at, labels[i - 1].at + kHeight);
    double limit = frame_.top + frame_.plot_height();
    for (size_t i = labels.size(); i > 0; --i, limit -= kHeight) labels[i - 1].at = std::min(labels[i - 1].at, limit);
    for (const Label& label : labels) {
      svg_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"label {}\">{}</text>\n",
                          frame_.width - frame_.right + 12, label.at + 4, label.policy, label.name);
    }
  }

  const Chart& chart_;
  Frame frame_;
  std::set<double, std::greater<>> budgets_;
  std::string svg_;
};

}  // namespace

std::string to_svg(const Chart& chart) {
  return Drawing(chart).draw();
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

std::string svg_text(double x, double y, const char* css, const char* anchor, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n", x, y, css, anchor,
                     content);
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

}  // namespace hashevict::cli
