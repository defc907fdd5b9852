// SPDX-License-Identifier: Apache-2.0
#include "retention_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "text.hpp"

namespace hashevict::eval {
namespace {

constexpr double kPanel = 146, kGap = 13, kLeft = 112, kTop = 40, kRowGap = 16, kBottom = 46;
constexpr int kShades = 6;  // the page's style has classes k0 .. k6

// The byte of the prompt at position p is number p less the marks before it.
int32_t num_marks(const RetentionStudy& study) {
  return study.num_tokens - static_cast<int32_t>(study.example.prompt.size());
}

std::string lifetimes(const HeadRetention& head) {
  std::string path;
  for (size_t position = 0; position < head.evicted_at.size(); ++position) {
    path += fmt::format("M{0} {0}V{1}", position, head.evicted_at[position]);
  }
  return path;
}

std::string panel(const RetentionStudy& study, const HeadRetention& head, double x, double y) {
  const int32_t tokens = study.num_tokens;
  const double scale = kPanel / tokens;
  const auto fact = static_cast<double>(study.example.fact.begin) + num_marks(study);
  const auto fact_size = static_cast<double>(study.example.fact.end - study.example.fact.begin);
  std::string svg = fmt::format("<g transform=\"translate({:.1f} {:.1f})\">", x, y);
  svg += fmt::format("<rect class=\"ground\" width=\"{0}\" height=\"{0}\" />", kPanel);
  svg += fmt::format("<g transform=\"scale({:.6f})\"><path transform=\"translate(0.5 0)\" d=\"{}\" /></g>", scale,
                     lifetimes(head));
  svg += fmt::format("<rect class=\"fact\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" />",
                     fact * scale, fact * scale, std::max(fact_size * scale, 1.5), kPanel - fact * scale);
  return svg + "</g>\n";
}

std::string text(double x, double y, const char* css, const char* anchor, const std::string& content) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n", x, y, css, anchor,
                     content);
}

std::string column_titles(const RetentionStudy& study) {
  std::string svg;
  for (int32_t column = 0; column < study.num_layers * study.num_kv_heads; ++column) {
    svg += text(kLeft + column * (kPanel + kGap) + kPanel / 2, kTop - 12, "tick", "middle",
                fmt::format("layer {}, head {}", column / study.num_kv_heads, column % study.num_kv_heads));
  }
  return svg;
}

double share_held(const RetentionStudy& study, const Retention& retention, size_t position) {
  int32_t held = 0;
  for (const HeadRetention& head : retention.heads) held += head.evicted_at[position] >= study.num_tokens ? 1 : 0;
  return static_cast<double>(held) / static_cast<double>(retention.heads.size());
}

}  // namespace

std::string retention_svg(const RetentionStudy& study) {
  const auto columns = static_cast<double>(study.num_layers * study.num_kv_heads);
  const auto num_rows = static_cast<double>(study.policies.size());
  const double width = kLeft + columns * (kPanel + kGap);
  const double height = kTop + num_rows * (kPanel + kRowGap) + kBottom;
  std::string svg = fmt::format(
      "<svg class=\"retention\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Tokens that each head retained "
      "over "
      "the sequence\">\n",
      width, height);
  svg += column_titles(study);
  for (size_t row = 0; row < study.policies.size(); ++row) {
    const Retention& retention = study.policies[row];
    const double y = kTop + static_cast<double>(row) * (kPanel + kRowGap);
    svg += fmt::format("<text x=\"0\" y=\"{:.1f}\" class=\"label {}\">{}</text>\n", y + kPanel / 2 - 4,
                       retention.policy, retention.policy);
    const bool alike = std::set(retention.layer_slots.begin(), retention.layer_slots.end()).size() == 1;
    svg += text(0, y + kPanel / 2 + 13, "note", "start",
                fmt::format("{} slots{}", retention.slots, alike ? "" : " (mean)"));
    svg += text(kLeft - 6, y + 10, "tick", "end", "0");
    svg += text(kLeft - 6, y + kPanel, "tick", "end", std::to_string(study.num_tokens));
    svg += fmt::format("<g class=\"map {}\">\n", retention.policy);
    for (size_t i = 0; i < retention.heads.size(); ++i) {
      svg += panel(study, retention.heads[i], kLeft + static_cast<double>(i) * (kPanel + kGap), y);
    }
    svg += "</g>\n";
  }
  const double base = height - kBottom - kRowGap;
  for (double column = 0; column < columns; ++column) {
    const double x = kLeft + column * (kPanel + kGap);
    svg += text(x, base + 15, "tick", "start", "0");
    svg += text(x + kPanel, base + 15, "tick", "end", std::to_string(study.num_tokens));
  }
  svg += text(kLeft + columns * (kPanel + kGap) / 2, base + 38, "note", "middle",
              "token position →   (downwards: the step, that is, time)");
  return svg + "</svg>\n";
}

std::string retained_text_html(const RetentionStudy& study, const Retention& retention) {
  const std::string& prompt = study.example.prompt;
  const auto offset = static_cast<size_t>(num_marks(study));
  std::string html;
  size_t begin = 0;
  const auto shade = [&](size_t byte) {
    return static_cast<int>(std::lround(kShades * share_held(study, retention, byte + offset)));
  };
  const auto in_fact = [&](size_t byte) { return byte >= study.example.fact.begin && byte < study.example.fact.end; };
  while (begin < prompt.size()) {
    size_t end = begin + 1;
    while (end < prompt.size() && shade(end) == shade(begin) && in_fact(end) == in_fact(begin)) ++end;
    html += fmt::format("<span class=\"k{}{}\">{}</span>", shade(begin), in_fact(begin) ? " fact" : "",
                        escape_html(std::string_view(prompt).substr(begin, end - begin)));
    begin = end;
  }
  return html;
}

}  // namespace hashevict::eval
