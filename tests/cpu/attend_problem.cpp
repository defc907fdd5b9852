// SPDX-License-Identifier: Apache-2.0
#include "attend_problem.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "cpu/attend_combine.hpp"
#include "cpu/convert.hpp"

namespace hashevict::cpu {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kOffset = 24;  ///< elements before the head's first slot, NaN

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

bool AttendProblem::Result::operator==(const Result& other) const {
  return same_bits(out, other.out) && same_bits(lse, other.lse);
}

AttendProblem::Result AttendProblem::Result::query(int32_t index) const {
  const auto dim = static_cast<std::ptrdiff_t>(out.size() / lse.size());
  return {{out.begin() + index * dim, out.begin() + (index + 1) * dim}, {lse[static_cast<size_t>(index)]}};
}

AttendProblem::AttendProblem(const Shape& problem_shape, uint32_t seed) : shape(problem_shape) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  softmax_scale = 1 / std::sqrt(static_cast<float>(shape.head_dim));
  queries.resize(static_cast<size_t>(shape.num_queries) * static_cast<size_t>(shape.head_dim));
  for (float& element : queries) {
    element = normal(random);
    if (!shape.multiply_bfloat) continue;
    uint16_t bits = 0;
    store_row(core::DType::bfloat16, &element, &bits, 1, 1);
    load_row(core::DType::bfloat16, &bits, 1, &element, 1);
  }

  int64_t slots = shape.length;
  if (shape.page_size > 0) {
    pages_.resize(static_cast<size_t>((shape.length + shape.page_size - 1) / shape.page_size));
    std::iota(pages_.begin(), pages_.end(), 0);
    std::shuffle(pages_.begin(), pages_.end(), random);
    slots = static_cast<int64_t>(pages_.size()) * shape.page_size;
  }
  const int64_t slot_elements = shape.head_dim + shape.gap;
  // Strided, the memory ends with the last element of the last slot.
  const int64_t elements = kOffset + slots * slot_elements - (shape.page_size > 0 || slots == 0 ? 0 : shape.gap);
  const std::vector<float> poison(static_cast<size_t>(elements), kPoison);
  keys_.resize(static_cast<size_t>(elements * size_of(shape.dtype)));
  store_row(shape.dtype, poison.data(), keys_.data(), 1, static_cast<int>(elements));
  values_ = keys_;
  exact_keys_.resize(static_cast<size_t>(shape.length) * static_cast<size_t>(shape.head_dim));
  exact_values_ = exact_keys_;
  for (int32_t slot = 0; slot < shape.length; ++slot) {
    for (int32_t dim = 0; dim < shape.head_dim; ++dim) {
      set_key(slot, dim, shape.key_scale * normal(random));
      set_value(slot, dim, normal(random));
    }
  }
}

core::SlotAddress AttendProblem::address() const {
  core::SlotAddress slots;
  const int64_t element = size_of(shape.dtype);
  slots.slot_stride = (shape.head_dim + shape.gap) * element;
  slots.offset = kOffset * element;
  if (shape.page_size > 0) {
    slots.pages = pages_.data();
    slots.page_size = shape.page_size;
    slots.page_stride = slots.slot_stride * shape.page_size;
  }
  return slots;
}

void AttendProblem::set(std::vector<std::byte>& stored, std::vector<double>& exact, int32_t slot, int32_t dim,
                        float value) {
  std::byte* const at = stored.data() + address()(slot) + dim * size_of(shape.dtype);
  store_row(shape.dtype, &value, at, 1, 1);
  float held = 0;
  load_row(shape.dtype, at, 1, &held, 1);
  exact[static_cast<size_t>(slot * shape.head_dim + dim)] = held;
}

AttendProblem::Result AttendProblem::run(int32_t split_slots) const {
  const int32_t count = shape.num_queries;
  const int32_t num_splits = std::max((shape.length + split_slots - 1) / split_slots, 1);
  const auto one = static_cast<size_t>(partial_floats(count, shape.head_dim));
  std::vector<float> partials(one * static_cast<size_t>(num_splits), kPoison);
  std::vector<float> scratch(static_cast<size_t>(scratch_floats(count, shape.head_dim)) + scratch_shift, kPoison);
  for (int32_t s = 0; s < num_splits; ++s) {
    AttendSplit split{};
    split.queries = queries.data();
    split.num_queries = count;
    split.multiply_bfloat = shape.multiply_bfloat;
    split.format = {shape.dtype, shape.head_dim};
    split.keys = keys_.data();
    split.values = values_.data();
    split.slots = address();
    split.first_slot = s * split_slots;
    split.last_slot = std::min((s + 1) * split_slots, shape.length);
    split.positions = positions.empty() ? nullptr : positions.data();
    split.query_positions = positions.empty() ? nullptr : query_positions.data();
    split.softmax_scale = softmax_scale;
    split.logit_soft_cap = logit_soft_cap;
    split.partial = partials.data() + one * static_cast<size_t>(s);
    attend_split(split, scratch.data() + scratch_shift);
  }
  Result result{std::vector<float>(queries.size(), kPoison), std::vector<float>(static_cast<size_t>(count), kPoison)};
  combine_splits(partials.data(), num_splits, count, shape.head_dim, result.out.data(), result.lse.data());
  return result;
}

bool AttendProblem::visible(int32_t query, int32_t slot) const {
  return positions.empty() || positions[static_cast<size_t>(slot)] <= query_positions[static_cast<size_t>(query)];
}

void AttendProblem::expect_accurate(const Result& result) const {
  for (int32_t query = 0; query < shape.num_queries; ++query) expect_accurate(query, result);
}

void AttendProblem::expect_accurate(int32_t query, const Result& result) const {
  const auto dims = static_cast<size_t>(shape.head_dim);
  const float* const q = queries.data() + static_cast<size_t>(query) * dims;
  std::vector<double> logits(static_cast<size_t>(shape.length), -std::numeric_limits<double>::infinity());
  double largest = -std::numeric_limits<double>::infinity(), smallest = -largest, largest_terms = 0;
  for (int32_t slot = 0; slot < shape.length; ++slot) {
    if (!visible(query, slot)) continue;
    double dot = 0, terms = 0;
    for (size_t dim = 0; dim < dims; ++dim) {
      const double product = q[dim] * exact_keys_[static_cast<size_t>(slot) * dims + dim];
      dot += product;
      terms += std::abs(product);
    }
    double& logit = logits[static_cast<size_t>(slot)];
    logit = double{softmax_scale} * dot;
    if (logit_soft_cap != 0) logit = double{logit_soft_cap} * std::tanh(logit / double{logit_soft_cap});
    largest = std::max(largest, logit);
    smallest = std::min(smallest, logit);
    largest_terms = std::max(largest_terms, double{softmax_scale} * terms);
  }
  std::vector<double> out(dims), weighted(dims);
  double sum = 0;
  for (int32_t slot = 0; slot < shape.length; ++slot) {
    if (!visible(query, slot)) continue;
    const double weight = std::exp(logits[static_cast<size_t>(slot)] - largest);
    sum += weight;
    for (size_t dim = 0; dim < dims; ++dim) {
      const double value = exact_values_[static_cast<size_t>(slot) * dims + dim];
      out[dim] += weight * value;
      weighted[dim] += weight * std::abs(value);
    }
  }
  const double u = std::ldexp(1.0, -24);
  double logit_error = u * ((shape.head_dim / 4.0 + 4) * largest_terms + std::max(largest - smallest, 0.0));
  if (logit_soft_cap != 0) logit_error += u * 8 * std::abs(logit_soft_cap);
  const float* const got = result.out.data() + static_cast<size_t>(query) * dims;
  for (size_t dim = 0; dim < dims; ++dim) {
    const double expected = sum == 0 ? 0 : out[dim] / sum;
    const double bound = sum == 0 ? 0 : (8 * u + 4 * logit_error) * weighted[dim] / sum;
    ASSERT_NEAR(got[dim], expected, bound + 1e-37) << "query " << query << " dim " << dim;
  }
  const float lse = result.lse[static_cast<size_t>(query)];
  if (sum == 0) {
    ASSERT_EQ(lse, -std::numeric_limits<float>::infinity());
  } else {
    const double expected = largest + std::log(sum);
    ASSERT_NEAR(lse, expected, 4 * logit_error + u * (8 + 2 * std::abs(expected))) << "query " << query;
  }
}

void AttendProblem::copy_elements(const AttendProblem& other) {
  queries = other.queries;
  for (int32_t slot = 0; slot < shape.length; ++slot) {
    for (int32_t dim = 0; dim < shape.head_dim; ++dim) {
      const auto at = static_cast<size_t>(slot * shape.head_dim + dim);
      set_key(slot, dim, static_cast<float>(other.exact_keys_[at]));
      set_value(slot, dim, static_cast<float>(other.exact_values_[at]));
    }
  }
}

AttendProblem AttendProblem::only(int32_t index) const {
  AttendProblem one = *this;
  one.shape.num_queries = 1;
  const auto dim = static_cast<std::ptrdiff_t>(shape.head_dim);
  one.queries.assign(queries.begin() + index * dim, queries.begin() + (index + 1) * dim);
  if (!positions.empty()) one.query_positions = {query_positions[static_cast<size_t>(index)]};
  return one;
}

AttendProblem AttendProblem::shortened(int32_t length) const {
  AttendProblem shorter = *this;
  shorter.shape.length = length;
  shorter.positions.clear();
  shorter.query_positions.clear();
  return shorter;
}

}  // namespace hashevict::cpu
