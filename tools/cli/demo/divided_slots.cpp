// SPDX-License-Identifier: Apache-2.0
#include "divided_slots.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "chart.hpp"

namespace hashevict::cli {
namespace {

constexpr double kLeft = 60, kTop = 24, kHeight = 62, kGap = 6, kWidth = 900;

// A bar of one head: as high as its share of the tokens.
std::string bar(double x, double y, double width, int32_t slots, int32_t length, const std::string& title) {
  const double height = kHeight * std::min(1.0, static_cast<double>(slots) / length);
  return fmt::format(R"(<g><title>{0}: {1} slots</title>
<rect class="ground" x="{2:.1f}" y="{3:.1f}" width="{4:.1f}" height="{5:.1f}" />
<rect class="share" x="{2:.1f}" y="{6:.1f}" width="{4:.1f}" height="{7:.1f}" /></g>
)",
                     title, slots, x, y, width, kHeight, y + kHeight - height, height);
}

std::string drawing(const DividedSlots& divided) {
  const auto heads = static_cast<size_t>(divided.num_kv_heads);
  const size_t layers = divided.slots.size() / heads;
  const double column = std::min(60.0, (kWidth - kLeft) / static_cast<double>(layers));
  const double height = kTop + static_cast<double>(heads) * (kHeight + kGap);
  std::string svg = fmt::format(
      "<svg class=\"slots\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"Slots of each head\">\n", kWidth,
      height);
  for (size_t layer = 0; layer < layers; ++layer) {
    const double x = kLeft + static_cast<double>(layer) * column;
    svg += svg_text(x + column / 2, kTop - 8, "tick", "middle", std::to_string(layer));
    for (size_t head = 0; head < heads; ++head) {
      svg += bar(x + 1, kTop + static_cast<double>(head) * (kHeight + kGap), column - 3,
                 divided.slots[layer * heads + head], divided.length, fmt::format("layer {}, head {}", layer, head));
    }
  }
  svg += svg_text(0, kTop - 8, "tick", "start", "layer");
  for (size_t head = 0; head < heads; ++head) {
    svg += svg_text(0, kTop + static_cast<double>(head) * (kHeight + kGap) + kHeight / 2, "tick", "start",
                    fmt::format("head {}", head));
  }
  return svg + "</svg>\n";
}

}  // namespace

std::string divided_slots_html(const DividedSlots& divided) {
  return fmt::format(R"(<h2>Slots of each head</h2>
<p class="notes">Calibrated slots at {:.0f} % of {} tokens. A full bar is a head that keeps every token.</p>
<div class="card scroll">{}</div>
)",
                     100.0 * divided.budget, divided.length, drawing(divided));
}

}  // namespace hashevict::cli
