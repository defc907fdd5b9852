// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "cpu/attend_kernel.hpp"
#include "support/enum_name.hpp"

namespace hashevict::cpu {

/// The type of keys and values, and whether queries of bf16 are multiplied as such.
struct Types {
  core::DType dtype;
  bool multiply_bfloat;
};
inline constexpr Types kTypes[] = {{core::DType::float32, false},
                                   {core::DType::float16, false},
                                   {core::DType::bfloat16, false},
                                   {core::DType::bfloat16, true}};

/// Inputs of attention: queries, and keys and values both as the kernel reads them and as exact doubles.
class AttendProblem {
 public:
  struct Shape {
    core::DType dtype = core::DType::float32;
    bool multiply_bfloat = false;  ///< queries are then numbers of bf16
    int32_t head_dim = 64;
    int32_t num_queries = 1;
    int32_t length = 100;
    int32_t page_size = 0;  ///< 0: strided
    int32_t gap = 0;        ///< elements between slots, poisoned with NaN
    float key_scale = 1;
  };

  AttendProblem(const Shape& shape, uint32_t seed);

  /// Replaces one element. The dtype must represent the value exactly.
  void set_key(int32_t slot, int32_t dim, float value) { set(keys_, exact_keys_, slot, dim, value); }
  void set_value(int32_t slot, int32_t dim, float value) { set(values_, exact_values_, slot, dim, value); }

  struct Result {
    std::vector<float> out;  ///< [num_queries, head_dim]
    std::vector<float> lse;  ///< [num_queries]

    bool operator==(const Result& other) const;  ///< bit by bit
    [[nodiscard]] Result query(int32_t index) const;
  };

  /// Runs attend_split() over splits of `split_slots`, then combine_splits(). All memory has exactly the documented
  /// size; outputs and scratch are poisoned.
  [[nodiscard]] Result run(int32_t split_slots = 1024) const;

  /// Compares with exact arithmetic, within the bound of attend_kernel.hpp.
  void expect_accurate(const Result& result) const;

  Shape shape;
  std::vector<float> queries;            ///< [num_queries, head_dim]
  std::vector<int32_t> positions;        ///< [length]; empty: no mask
  std::vector<int32_t> query_positions;  ///< [num_queries]
  float softmax_scale = 0;               ///< 1 / sqrt(head_dim)
  float logit_soft_cap = 0;
  std::size_t scratch_shift = 0;  ///< distance in floats from an aligned address

  /// Copies keys, values and queries of a problem that differs only in its layout.
  void copy_elements(const AttendProblem& other);
  /// Returns the problem of query `index` alone, with the same keys and values.
  [[nodiscard]] AttendProblem only(int32_t index) const;
  /// Returns the problem with only the first `length` slots and no mask.
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
