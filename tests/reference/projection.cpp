// SPDX-License-Identifier: Apache-2.0
#include "reference/projection.hpp"

#include <cmath>

#include "reference/philox.hpp"

namespace hashevict::reference {
namespace {

constexpr double kPi = 3.14159265358979323846;

/// A number in (0, 1) from the upper 53 of 64 random bits.
double uniform(std::uint32_t upper, std::uint32_t lower) {
  const std::uint64_t bits = (std::uint64_t{upper} << 32) | lower;
  return (static_cast<double>(bits >> 11) + 0.5) * 0x1p-53;
}

/// Entry `n` of a matrix of standard normal numbers, by Box-Muller: a pair of entries shares one Philox counter.
float normal(std::uint64_t seed, std::uint32_t layer, std::uint32_t head, std::size_t n) {
  const auto words = philox4x32_10({static_cast<std::uint32_t>(n / 2), 0, layer, head},
                                   {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const double radius = std::sqrt(-2.0 * std::log(uniform(words[0], words[1])));
  const double angle = 2.0 * kPi * uniform(words[2], words[3]);
  return static_cast<float>(n % 2 == 0 ? radius * std::cos(angle) : radius * std::sin(angle));
}

using Row = std::vector<double>;

double dot(const Row& a, const Row& b) {
  double sum = 0.0;
  for (std::size_t e = 0; e < a.size(); ++e) sum += a[e] * b[e];
  return sum;
}

}  // namespace

Projection gaussian_projection(std::uint64_t seed, std::uint32_t layer, std::uint32_t head, std::size_t hash_bits,
                               std::size_t head_dim) {
  Projection projection(hash_bits, Vector(head_dim));
  for (std::size_t i = 0; i < hash_bits; ++i) {
    for (std::size_t e = 0; e < head_dim; ++e) projection[i][e] = normal(seed, layer, head, i * head_dim + e);
  }
  return projection;
}

Projection orthogonalized(const Projection& projection) {
  Projection result;
  std::vector<Row> units;  // of the block of rows that contains row i
  for (std::size_t i = 0; i < projection.size(); ++i) {
    if (i % projection[i].size() == 0) units.clear();
    Row row(projection[i].begin(), projection[i].end());
    const double norm = std::sqrt(dot(row, row));
    for (const Row& unit : units) {
      const double overlap = dot(row, unit);
      for (std::size_t e = 0; e < row.size(); ++e) row[e] -= overlap * unit[e];
    }
    const double rest = std::sqrt(dot(row, row));
    for (double& element : row) element /= rest;
    units.push_back(row);
    Vector scaled;
    for (const double element : row) scaled.push_back(static_cast<float>(element * norm));
    result.push_back(scaled);
  }
  return result;
}

}  // namespace hashevict::reference
