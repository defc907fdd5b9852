// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/status.hpp>
#include <hashevict/tensor.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hashevict {

/// Divides slots among the heads of a model by the importance of their keys: every head gets `floor` slots, and each
/// further slot goes to the head whose next key is the most important one, up to `length` slots a head. Ties go to the
/// lowest layer, then to the lowest head. The sum is exact, and no head loses a slot when the total grows.
///
/// Needs no cache; allocates the result alone. O(num_layers * num_kv_heads * (num_quantiles + 64 log2(length))).
/// @param quantiles float32 `[num_layers, num_kv_heads, num_quantiles]`, host, read-only: of the importance of each
///        head's keys. Entry i lies at level i / (num_quantiles - 1), with straight lines in between. All are finite
///        and ascend; they compare across heads and layers
/// @param total_slots slots of all layers and heads: the mean capacity times num_layers * num_kv_heads
/// @param length tokens of the sequences that the slots are for, 1 .. 2^28
/// @param floor the fewest slots of a head, 0 .. length
/// @return the capacities `[num_layers, num_kv_heads]`, row-major
/// @throws Error invalid_argument
[[nodiscard]] inline std::vector<int32_t> divide_slots(const Tensor& quantiles, int64_t total_slots, int32_t length,
                                                       int32_t floor) {
  const bool has_heads = quantiles.rank == 3 && quantiles.shape[0] > 0 && quantiles.shape[1] > 0 &&
                         quantiles.shape[0] <= 1 << 16 && quantiles.shape[1] <= 1 << 14;  // else refused below
  std::vector<int32_t> capacities(has_heads ? static_cast<std::size_t>(quantiles.shape[0] * quantiles.shape[1]) : 1);
  detail::check([&](hashevict_error* error) {
    return hashevict_divide_slots(&quantiles, total_slots, length, floor, capacities.data(), error);
  });
  return capacities;
}

}  // namespace hashevict
