// SPDX-License-Identifier: Apache-2.0
#include "engine/matmul.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

namespace hashevict::engine {
namespace {

std::vector<float> random_floats(std::mt19937& generator, std::int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

// A random matrix in each of the types, and its values widened.
struct Matrix {
  std::vector<float> values;
  std::vector<std::uint16_t> narrow;
  StoredTensor tensor;

  Matrix(std::mt19937& generator, ElementType type, std::int64_t outputs, std::int64_t inputs)
      : values(random_floats(generator, outputs * inputs)) {
    tensor = {"w", type, {outputs, inputs}, std::as_bytes(std::span(values))};
    if (type == ElementType::f32) return;
    for (const float value : values) {
      const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
      narrow.push_back(type == ElementType::bf16 ? bits : static_cast<std::uint16_t>(bits & 0xbbffU));  // finite
    }
    tensor.bytes = std::as_bytes(std::span(narrow));
    values = tensor.to_floats();
  }
};

constexpr ElementType kTypes[] = {ElementType::f32, ElementType::f16, ElementType::bf16};

TEST(Matmul, EqualsPlainLoops) {
  std::mt19937 generator(1);
  ThreadPool threads(1);
  for (const ElementType type : kTypes) {
    for (const auto& [outputs, inputs] : {std::pair{1, 1}, {16, 8}, {17, 5}, {64, 300}, {100, 256}, {83, 513}}) {
      const Matrix matrix(generator, type, outputs, inputs);
      const PackedMatrix packed({&matrix.tensor});
      for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 13, 97}) {
        const std::vector<float> x = random_floats(generator, rows * inputs);
        std::vector<float> y(static_cast<std::size_t>(rows * outputs), NAN);
        multiply(packed, x.data(), rows, y.data(), threads);
        for (std::int64_t i = 0; i < rows * outputs; ++i) {
          const float* row = x.data() + i / outputs * inputs;
          const float* weights = matrix.values.data() + i % outputs * inputs;
          double sum = 0;
          double size = 0;  // of the terms, to which rounding errors are relative
          for (std::int64_t k = 0; k < inputs; ++k) {
            sum += static_cast<double>(weights[k]) * static_cast<double>(row[k]);
            size += std::abs(static_cast<double>(weights[k]) * static_cast<double>(row[k]));
          }
          // The bound: half an ulp of a partial sum for every input, far above the sum of random rounding errors.
          ASSERT_NEAR(y[static_cast<std::size_t>(i)], sum, size * inputs * 0x1p-24 + 1e-30) << outputs << "x" << inputs;
        }
      }
    }
  }
}

TEST(Matmul, BitsDependNeitherOnRowsNorThreads) {
  std::mt19937 generator(2);
  ThreadPool one(1);
  ThreadPool three(3);
  for (const ElementType type : kTypes) {
    const std::int64_t outputs = 215;
    const std::int64_t inputs = 700;
    const std::int64_t rows = 203;
    const Matrix matrix(generator, type, outputs, inputs);
    const PackedMatrix packed({&matrix.tensor});
    const std::vector<float> x = random_floats(generator, rows * inputs);
    std::vector<float> y(static_cast<std::size_t>(rows * outputs));
    multiply(packed, x.data(), rows, y.data(), three);
    for (std::int64_t begin = 0, size = 1; begin < rows; begin += size, size = size % 9 + 1) {
      size = std::min(size, rows - begin);
      std::vector<float> part(static_cast<std::size_t>(size * outputs));
      multiply(packed, x.data() + begin * inputs, size, part.data(), one);
      for (std::size_t i = 0; i < part.size(); ++i) {
        ASSERT_EQ(part[i], y[static_cast<std::size_t>(begin * outputs) + i]) << begin << " " << size;
      }
    }
  }
}

TEST(Matmul, StackedMatricesFollowOneAnother) {
  std::mt19937 generator(3);
  const Matrix a(generator, ElementType::bf16, 21, 12);
  const Matrix b(generator, ElementType::f32, 30, 12);
  const PackedMatrix packed({&a.tensor, &b.tensor});
  EXPECT_EQ(packed.outputs(), 51);
  EXPECT_EQ(packed.type(), ElementType::f32);
  std::vector<float> row(12);
  packed.copy_row(20, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), a.values.begin() + 20 * 12));
  packed.copy_row(50, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), b.values.begin() + 29 * 12));
  const Matrix c(generator, ElementType::f32, 30, 13);
  EXPECT_THROW(PackedMatrix({&a.tensor, &c.tensor}), Error);
}

}  // namespace
}  // namespace hashevict::engine
