// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "hashevict/hashevict.h"

namespace hashevict::core {

/// The validated arguments of hashevict_divide_slots().
struct Division {
  const hashevict_tensor& quantiles;  ///< [num_layers, num_kv_heads, num_quantiles], finite, ascending
  int64_t total_slots;                ///< from `floor` to `length`, times the heads
  int32_t length;
  int32_t floor;
  int32_t* capacities;  ///< [num_layers, num_kv_heads], written
};

/// Checks the arguments of hashevict_divide_slots().
Division validate_division(const hashevict_tensor* quantiles, int64_t total_slots, int32_t length, int32_t floor,
                           int32_t* capacities);

/// Divides slots among heads (algorithm.md, *Slots for each head*). Allocates nothing. O(heads * log(length)), times
/// the 64 bits of a quantile.
void divide_slots(const Division& division);

}  // namespace hashevict::core
