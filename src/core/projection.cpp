// SPDX-License-Identifier: Apache-2.0
#include "core/projection.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <tuple>
#include <utility>

#include "core/philox.hpp"

namespace hashevict::core {
namespace {

/// A uniform number in (0, 1) from 53 of 64 random bits. It is positive, so that its logarithm is finite.
double uniform(uint32_t high, uint32_t low) {
  const uint64_t bits = (uint64_t{high} << 32 | low) >> 11;
  return (static_cast<double>(bits) + 0.5) * 0x1p-53;
}

/// Two independent standard normal numbers by the Box-Muller transform.
std::pair<float, float> normal_pair(const ProjectionKey& key, uint32_t index) {
  const auto seed = key.seed;
  const Words4 words = philox4x32_10({index, 0, static_cast<uint32_t>(key.layer), static_cast<uint32_t>(key.kv_head)},
                                     static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  const double radius = std::sqrt(-2.0 * std::log(uniform(words.x, words.y)));
  const double angle = 2.0 * std::numbers::pi * uniform(words.z, words.w);
  return {static_cast<float>(radius * std::cos(angle)), static_cast<float>(radius * std::sin(angle))};
}

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Orthogonalises `rows` rows in place and restores the norm of each.
void orthogonalize(float* matrix, int32_t rows, int32_t columns) {
  const auto width = static_cast<std::size_t>(columns);
  std::vector<double> basis(static_cast<std::size_t>(rows) * width);
  for (int32_t i = 0; i < rows; ++i) {
    float* const row = matrix + static_cast<std::size_t>(i) * width;
    const std::span<double> unit{basis.data() + static_cast<std::size_t>(i) * width, width};
    for (std::size_t e = 0; e < width; ++e) unit[e] = row[e];
    const double norm = std::sqrt(dot(unit, unit));
    for (int32_t j = 0; j < i; ++j) {
      const std::span<const double> earlier{basis.data() + static_cast<std::size_t>(j) * width, width};
      const double overlap = dot(unit, earlier);
      for (std::size_t e = 0; e < width; ++e) unit[e] -= overlap * earlier[e];
    }
    const double rest = std::sqrt(dot(unit, unit));
    for (double& value : unit) value /= rest;
    for (std::size_t e = 0; e < width; ++e) row[e] = static_cast<float>(unit[e] * norm);
  }
}

}  // namespace

std::vector<float> draw_projection(const ProjectionKey& key, int32_t hash_bits, int32_t head_dim) {
  const auto size = static_cast<std::size_t>(hash_bits) * static_cast<std::size_t>(head_dim);
  std::vector<float> projection(size);
  for (std::size_t n = 0; n < size; n += 2) {  // head_dim is even, so rows start at even entries
    std::tie(projection[n], projection[n + 1]) = normal_pair(key, static_cast<uint32_t>(n / 2));
  }
  if (key.orthogonal) {
    for (int32_t row = 0; row < hash_bits; row += head_dim) {
      const auto offset = static_cast<std::size_t>(row) * static_cast<std::size_t>(head_dim);
      orthogonalize(projection.data() + offset, std::min(head_dim, hash_bits - row), head_dim);
    }
  }
  return projection;
}

void transpose(std::span<const float> source, int32_t rows, int32_t columns, float* target) {
  for (int32_t r = 0; r < rows; ++r) {
    for (int32_t c = 0; c < columns; ++c) {
      target[static_cast<std::size_t>(c) * static_cast<std::size_t>(rows) + static_cast<std::size_t>(r)] =
          source[static_cast<std::size_t>(r) * static_cast<std::size_t>(columns) + static_cast<std::size_t>(c)];
    }
  }
}

}  // namespace hashevict::core
