// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hashevict::eval {
namespace {

std::vector<double> ranks(std::span<const float> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (size_t i = begin; i < end; ++i) ranks[order[i]] = static_cast<double>(begin + end - 1) / 2.0;
    begin = end;
  }
  return ranks;
}

}  // namespace

Estimate stratified(const std::vector<std::vector<double>>& strata) {
  Estimate result;
  double variance = 0.0;
  for (const std::vector<double>& samples : strata) {
    const Estimate one = estimate(samples);
    result.mean += one.mean;
    variance += one.error * one.error;
    result.count += one.count;
  }
  const auto count = static_cast<double>(std::max<size_t>(1, strata.size()));
  result.mean /= count;
  result.error = std::sqrt(variance) / count;
  return result;
}

double rank_correlation(std::span<const float> a, std::span<const float> b) {
  const std::vector<double> ranks_a = ranks(a);
  const std::vector<double> ranks_b = ranks(b);
  const double mean = static_cast<double>(a.size() - 1) / 2.0;
  double product = 0.0;
  double square_a = 0.0;
  double square_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += (ranks_a[i] - mean) * (ranks_b[i] - mean);
    square_a += (ranks_a[i] - mean) * (ranks_a[i] - mean);
    square_b += (ranks_b[i] - mean) * (ranks_b[i] - mean);
  }
  return square_a == 0.0 || square_b == 0.0 ? 0.0 : product / std::sqrt(square_a * square_b);
}

}  // namespace hashevict::eval
