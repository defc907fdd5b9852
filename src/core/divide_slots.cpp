// SPDX-License-Identifier: Apache-2.0
#include "core/divide_slots.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/footprint.hpp"
#include "core/validate.hpp"
#include "core/validate_rule.hpp"

namespace hashevict::core {
namespace {

constexpr int64_t kMaxLayers = int64_t{1} << 16;
constexpr int64_t kMaxHeads = int64_t{1} << 14;
constexpr int64_t kMaxQuantiles = int64_t{1} << 20;

/// The keys of one head, by their importance. A key's rank is the number of keys above it.
class HeadKeys {
 public:
  HeadKeys(const Division& division, int64_t head)
      : first_{static_cast<const float*>(division.quantiles.data) +
               head / division.quantiles.shape[1] * division.quantiles.stride[0] +
               head % division.quantiles.shape[1] * division.quantiles.stride[1]},
        stride_{division.quantiles.stride[2]},
        intervals_{division.quantiles.shape[2] - 1},
        length_{division.length} {}

  /// The quantile at which the key of a rank lies. It does not grow with the rank.
  [[nodiscard]] double importance(int32_t rank) const {
    if (length_ == 1) return entry(intervals_);
    const int64_t steps = length_ - 1;
    const int64_t place = (steps - rank) * intervals_;  // in units of an interval's `steps`-th part
    const int64_t below = place / steps;
    if (below == intervals_) return entry(intervals_);
    const double low = entry(below);
    const double high = entry(below + 1);
    return std::min(high, low + (high - low) * (static_cast<double>(place % steps) / static_cast<double>(steps)));
  }

  /// The first rank from `floor` on at which `stops(importance)` holds, or the length. It holds from there on.
  template <class Stops>
  [[nodiscard]] int32_t first_rank(int32_t floor, const Stops& stops) const {
    int32_t low = floor;
    for (int32_t high = length_; low < high;) {
      const int32_t middle = low + (high - low) / 2;
      if (stops(importance(middle))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

 private:
  [[nodiscard]] double entry(int64_t index) const { return static_cast<double>(first_[index * stride_]); }

  const float* first_;
  int64_t stride_;
  int64_t intervals_;
  int32_t length_;
};

int64_t num_heads(const Division& division) {
  return division.quantiles.shape[0] * division.quantiles.shape[1];
}

/// The slots that a head gets if it keeps its floor and all keys above `bound`.
int32_t slots_above(const Division& division, int64_t head, double bound) {
  return HeadKeys{division, head}.first_rank(division.floor, [=](double value) { return !(value > bound); });
}

/// The slots of all heads for a bound.
int64_t slots_above(const Division& division, double bound) {
  int64_t sum = 0;
  for (int64_t head = 0; head < num_heads(division); ++head) sum += slots_above(division, head, bound);
  return sum;
}

/// Doubles in the order of their values, as numbers that grow with them.
double number_at(uint64_t order) {
  constexpr uint64_t kSign = uint64_t{1} << 63;
  return std::bit_cast<double>((order & kSign) != 0 ? order ^ kSign : ~order);
}

/// The smallest number above which no more keys lie than there are slots.
double find_bound(const Division& division) {
  uint64_t low = ~std::bit_cast<uint64_t>(-std::numeric_limits<double>::infinity());
  uint64_t high = std::bit_cast<uint64_t>(std::numeric_limits<double>::infinity()) | uint64_t{1} << 63;
  while (low < high) {
    const uint64_t middle = low + (high - low) / 2;
    if (slots_above(division, number_at(middle)) <= division.total_slots) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return number_at(low);
}

void check_quantiles(const hashevict_tensor& quantiles) {
  const auto* const first = static_cast<const float*>(quantiles.data);
  for (int64_t layer = 0; layer < quantiles.shape[0]; ++layer) {
    for (int64_t head = 0; head < quantiles.shape[1]; ++head) {
      const float* const row = first + layer * quantiles.stride[0] + head * quantiles.stride[1];
      for (int64_t i = 0; i < quantiles.shape[2]; ++i) {
        const float value = row[i * quantiles.stride[2]];
        require(std::isfinite(value), "quantiles[{}][{}][{}] = {}: expected a finite number", layer, head, i, value);
        if (i == 0) continue;
        const float before = row[(i - 1) * quantiles.stride[2]];
        require(value >= before, "quantiles[{}][{}][{}] = {}: expected at least {}, the quantile before it", layer,
                head, i, value, before);
      }
    }
  }
}

}  // namespace

Division validate_division(const hashevict_tensor* quantiles, int64_t total_slots, int32_t length, int32_t floor,
                           int32_t* capacities) {
  require(quantiles != nullptr && quantiles->data != nullptr, "quantiles = NULL: expected a tensor");
  require_equal({"quantiles", "rank"}, quantiles->rank, 3);
  const int64_t* const shape = quantiles->shape;
  require_in_range({"quantiles", "shape", 0}, shape[0], 1, kMaxLayers);
  require_in_range({"quantiles", "shape", 1}, shape[1], 1, kMaxHeads);
  require_in_range({"quantiles", "shape", 2}, shape[2], 2, kMaxQuantiles);
  static_cast<void>(
      validate_tensor(*quantiles, {"quantiles", false, DType::float32, {shape[0], shape[1], shape[2]}, false}));
  require_in_range({"", "length"}, length, 1, kMaxCapacity);
  require_in_range({"", "floor"}, floor, 0, length, ", the length");
  const int64_t heads = shape[0] * shape[1];
  require_in_range({"", "total_slots"}, total_slots, heads * floor, heads * length,
                   ", since each head gets from floor to length slots");
  validate_pointer(capacities, "capacities");
  require_apart({{"", "capacities"}, capacities, heads * static_cast<int64_t>(sizeof(int32_t))},
                footprint_of("quantiles", *quantiles));
  check_quantiles(*quantiles);
  return {*quantiles, total_slots, length, floor, capacities};
}

/// A slot at a time, the next one goes to the head whose next key is the most important. Each head's keys fall in
/// importance, so this takes the most important keys of all heads: those above a bound, and of those at the bound as
/// many as slots are left, head by head.
void divide_slots(const Division& division) {
  const double bound = find_bound(division);
  int64_t left = division.total_slots - slots_above(division, bound);
  for (int64_t head = 0; head < num_heads(division); ++head) {
    const int32_t above = slots_above(division, head, bound);
    const int32_t with_ties = HeadKeys{division, head}.first_rank(above, [=](double value) { return value < bound; });
    const auto more = static_cast<int32_t>(std::min<int64_t>(left, with_ties - above));
    division.capacities[head] = above + more;
    left -= more;
  }
}

}  // namespace hashevict::core
