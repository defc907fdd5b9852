// SPDX-License-Identifier: Apache-2.0
#include "decimal.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <hashevict/status.hpp>

namespace hashevict::cli {
namespace {

bool is_all(std::string_view text, std::string_view characters) {
  return text.find_first_not_of(characters) == std::string_view::npos;
}

}  // namespace

Decimal::Decimal(double value) {
  std::array<char, 512> text{};  // the smallest double has fewer digits
  const auto end = std::to_chars(text.begin(), text.end(), value, std::chars_format::fixed).ptr;
  std::string written(text.begin(), end);
  if (written.find('.') == std::string::npos) written += '.';
  const std::optional<Decimal> parsed = parse(written);
  if (!parsed) throw Error(Status::invalid_argument, "'" + written + "' is not a fraction from 0 to 1");
  *this = *parsed;
}

std::optional<Decimal> Decimal::parse(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789";
  const size_t dot = text.find('.');
  if (dot == std::string_view::npos || text.size() == 1) return std::nullopt;
  const std::string_view whole = text.substr(0, dot);
  const std::string_view rest = text.substr(dot + 1);
  if (!is_all(whole, kDigits) || !is_all(rest, kDigits)) return std::nullopt;
  Decimal decimal;
  if (!is_all(whole, "0")) {
    decimal.is_one_ = whole.ends_with('1') && is_all(whole.substr(0, whole.size() - 1), "0") && is_all(rest, "0");
    return decimal.is_one_ ? std::optional(decimal) : std::nullopt;
  }
  decimal.digits_ = rest;
  return decimal;
}

double Decimal::value() const {
  if (is_one_) return 1.0;
  const std::string text = "0." + digits_;
  double value = 0.0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

int64_t Decimal::of(int64_t count) const {
  if (is_one_) return count;
  int64_t carried = 0;  // from the last digit on: divides by ten and rounds down, which is exact
  for (size_t i = digits_.size(); i-- > 0;) carried = ((digits_[i] - '0') * count + carried) / 10;
  return carried;
}

float Decimal::at_least() const {
  if (is_one_) return 1.0F;
  const double exact = value();
  const auto nearest = static_cast<float>(exact);
  return static_cast<double>(nearest) >= exact ? nearest : std::nextafter(nearest, 2.0F);
}

}  // namespace hashevict::cli
