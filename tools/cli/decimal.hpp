// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace hashevict::cli {

/// A decimal fraction, 0 to 1, whose product with a count is exact. In binary, 0.29 is a little less, and 0.29 of 100
/// would be 28.
class Decimal {
 public:
  /// The shortest decimal that rounds to this double. @param value 0 to 1
  explicit Decimal(double value);

  /// Parses digits with a dot, such as `0.3`, `.5` and `1.0`. Returns nothing for other text, or above 1.
  static std::optional<Decimal> parse(std::string_view text);

  double value() const;
  bool is_zero() const { return !is_one_ && digits_.find_first_not_of('0') == std::string::npos; }

  /// Returns the fraction times `count`, rounded down. @param count 0 or more, below 2^59
  int64_t of(int64_t count) const;

  /// Returns the nearest float that is not smaller, so that hashevict_rule::sink_fraction and recent_fraction never
  /// fall short of a whole number of slots.
  float at_least() const;

 private:
  Decimal() = default;

  bool is_one_ = false;
  std::string digits_;  // after the dot
};

}  // namespace hashevict::cli
