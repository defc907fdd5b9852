// SPDX-License-Identifier: Apache-2.0
#include "budget.hpp"

#include <algorithm>
#include <cmath>
#include <hashevict/status.hpp>
#include <optional>
#include <string>

#include "numbers.hpp"

namespace hashevict::eval {
namespace {

bool has_dot(std::string_view text) {
  return text.find('.') != std::string_view::npos;
}

[[noreturn]] void refuse(std::string_view what, std::string_view text, std::string_view expected) {
  throw Error(Status::invalid_argument,
              std::string(what) + " = '" + std::string(text) + "': expected " + std::string(expected));
}

}  // namespace

int32_t Budget::slots_for(int64_t num_tokens) const {
  if (!is_fraction) return slots;
  return static_cast<int32_t>(std::max(1.0, std::floor(fraction * static_cast<double>(num_tokens))));
}

int32_t layer_capacity(const Config& config, int32_t layer) {
  if (config.layer_capacities.empty()) return config.capacity;
  return config.layer_capacities.at(static_cast<size_t>(layer));
}

Budget parse_budget(std::string_view text) {
  constexpr std::string_view kExpected = "a positive number of slots, or a fraction in (0, 1] with a dot";
  if (has_dot(text)) {
    const std::optional<double> fraction = parse_whole<double>(text);
    if (!fraction || !(*fraction > 0.0 && *fraction <= 1.0)) refuse("budget", text, kExpected);
    return {true, 0, *fraction};
  }
  const std::optional<int32_t> slots = parse_whole<int32_t>(text);
  if (!slots || *slots < 1) refuse("budget", text, kExpected);
  return {false, *slots, 0.0};
}

std::vector<Budget> parse_budgets(std::string_view text) {
  std::vector<Budget> budgets;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    budgets.push_back(parse_budget(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return budgets;
}

Zone parse_zone(std::string_view text, std::string_view what) {
  constexpr std::string_view kExpected = "a number of tokens, 0 or more, or a fraction in [0, 1) with a dot";
  if (has_dot(text)) {
    const std::optional<float> fraction = parse_whole<float>(text);
    if (!fraction || !(*fraction >= 0.0F && *fraction < 1.0F)) refuse(what, text, kExpected);
    return {0, *fraction};
  }
  const std::optional<int32_t> tokens = parse_whole<int32_t>(text);
  if (!tokens || *tokens < 0) refuse(what, text, kExpected);
  return {*tokens, -1.0F};
}

}  // namespace hashevict::eval
