// SPDX-License-Identifier: Apache-2.0
#include "budget.hpp"

#include <algorithm>
#include <hashevict/status.hpp>
#include <optional>
#include <string>

#include "numbers.hpp"

namespace hashevict::cli {
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
  return static_cast<int32_t>(std::max<int64_t>(1, fraction.of(num_tokens)));
}

int32_t head_capacity(const Config& config, int32_t layer, int32_t kv_head) {
  if (config.shape.capacities.empty()) return config.shape.capacity;
  return config.shape.capacities.at(static_cast<size_t>(int64_t{layer} * config.shape.num_kv_heads + kv_head));
}

int32_t most_slots(const Config& config, int32_t layer) {
  int32_t most = 0;
  for (int32_t i = 0; i < config.shape.num_kv_heads; ++i) most = std::max(most, head_capacity(config, layer, i));
  return most;
}

int64_t sum_of_slots(const Config& config, int32_t layer) {
  int64_t sum = 0;
  for (int32_t i = 0; i < config.shape.num_kv_heads; ++i) sum += head_capacity(config, layer, i);
  return sum;
}

void set_capacities(Config& config, const std::vector<Budget>& budgets, int64_t num_tokens) {
  const auto num_layers = static_cast<size_t>(config.shape.num_layers);
  const size_t num_heads = num_layers * static_cast<size_t>(config.shape.num_kv_heads);
  if (budgets.size() != 1 && budgets.size() != num_layers && budgets.size() != num_heads) {
    throw Error(Status::invalid_argument, std::to_string(budgets.size()) + " budgets: expected one, or " +
                                              std::to_string(num_layers) + ", one a layer of the model, or " +
                                              std::to_string(num_heads) + ", one a KV head, layer by layer");
  }
  config.shape.capacity = budgets.front().slots_for(num_tokens);
  config.shape.capacities.clear();
  if (budgets.size() == 1) return;
  for (const Budget& budget : budgets) config.shape.capacities.push_back(budget.slots_for(num_tokens));
  if (budgets.size() == num_layers) {
    config.shape.capacities = capacities_of_layers(config.shape.capacities, config.shape.num_kv_heads);
  }
}

Budget parse_budget(std::string_view text) {
  constexpr std::string_view kExpected = "a positive number of slots, or a fraction in (0, 1] with a dot";
  if (has_dot(text)) {
    const std::optional<Decimal> fraction = Decimal::parse(text);
    if (!fraction || fraction->is_zero()) refuse("budget", text, kExpected);
    return Budget::of_fraction(*fraction);
  }
  const std::optional<int32_t> slots = parse_whole<int32_t>(text);
  if (!slots || *slots < 1) refuse("budget", text, kExpected);
  return Budget::of_slots(*slots);
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
    const std::optional<Decimal> fraction = Decimal::parse(text);
    if (!fraction || fraction->at_least() >= 1.0F) refuse(what, text, kExpected);
    return {0, fraction->at_least()};
  }
  const std::optional<int32_t> tokens = parse_whole<int32_t>(text);
  if (!tokens || *tokens < 0) refuse(what, text, kExpected);
  return {*tokens, -1.0F};
}

}  // namespace hashevict::cli
