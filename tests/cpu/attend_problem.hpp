// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "cpu/attend_kernel.hpp"

namespace hashevict::cpu {

/// Queries, and keys and values both as the kernel gets them and in exact doubles.
class AttendProblem {
 public:
  struct Shape {
    core::DType dtype = core::DType::float32;
    int32_t head_dim = 64;
    int32_t num_queries = 1;
    int32_t length = 100;
    int32_t page_size = 0;  ///< 0: strided
    int32_t gap = 0;        ///< elements between slots, poisoned with NaN
    float key_scale = 1;
  };

  AttendProblem(const Shape& shape, uint32_t seed);

  /// Replaces one element; the value must be one that the dtype can hold.
  void set_key(int32_t slot, int32_t dim, float value) { set(keys_, exact_keys_, slot, dim, value); }
  void set_value(int32_t slot, int32_t dim, float value) { set(values_, exact_values_, slot, dim, value); }

  struct Result {
    std::vector<float> out;  ///< [num_queries, head_dim]
    std::vector<float> lse;  ///< [num_queries]

    bool operator==(const Result& other) const;  ///< bit by bit
    [[nodiscard]] Result query(int32_t index) const;
  };

  /// Runs attend_split() over splits of `split_slots` and combine_splits(). All memory is exactly as large as promised,
  /// outputs and scratch are poisoned.
  [[nodiscard]] Result run(int32_t split_slots = 1024) const;

  /// Compares with exact arithmetic, within the bound that attend_kernel.hpp states.
  void expect_accurate(const Result& result) const;

  Shape shape;
  std::vector<float> queries;            ///< [num_queries, head_dim]
  std::vector<int32_t> positions;        ///< [length]; empty: no mask
  std::vector<int32_t> query_positions;  ///< [num_queries]
  float softmax_scale = 0;               ///< 1 / sqrt(head_dim)
  float logit_soft_cap = 0;
  std::size_t scratch_shift = 0;  ///< floats from an aligned address

  /// Takes over keys, values and queries of a problem that differs in its layout only.
  void copy_elements(const AttendProblem& other);
  /// The same keys and values for query `index` alone.
  [[nodiscard]] AttendProblem only(int32_t index) const;
  /// The same with the first `length` slots only, and no mask.
  [[nodiscard]] AttendProblem shortened(int32_t length) const;

 private:
  void set(std::vector<std::byte>& stored, std::vector<double>& exact, int32_t slot, int32_t dim, float value);
  [[nodiscard]] core::SlotAddress address() const;
  [[nodiscard]] bool visible(int32_t query, int32_t slot) const;
  void expect_accurate(int32_t query, const Result& result) const;

  std::vector<int32_t> pages_;
  std::vector<std::byte> keys_, values_;
  std::vector<double> exact_keys_, exact_values_;  ///< [length, head_dim]
};

}  // namespace hashevict::cpu
