// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "reference/head.hpp"

namespace hashevict::reference {

struct AttentionOptions {
  double softmax_scale = 0.0;   ///< 0: 1 / sqrt(head_dim)
  double logit_soft_cap = 0.0;  ///< 0: off
};

/// Attention of one query in double precision, with the magnitudes that the error bound of another implementation
/// needs.
struct Attention {
  std::vector<double> out;            ///< zeros if the query sees no slot
  double lse = 0.0;                   ///< natural log of the softmax sum; -infinity if the query sees no slot
  std::vector<double> out_magnitude;  ///< the sum of `p_j |v_j|`
  double logit_magnitude = 0.0;       ///< the largest `scale * sum of |q_e k_e|`
  std::size_t num_slots = 0;          ///< slots that the query sees
};

/// A query at `position` sees the slots up to its own position.
Attention attend(const Head& head, const Vector& query, std::int32_t position, const AttentionOptions& options);

}  // namespace hashevict::reference
