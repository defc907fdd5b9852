// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hashevict::reference {

using Vector = std::vector<float>;

/// `R`: one row of head_dim elements for each bit of a code.
using Projection = std::vector<Vector>;

/// The projection of a layer that all of its heads share.
inline constexpr std::uint32_t kAllHeads = 0xFFFFFFFFU;

/// Independent standard normal entries, fp32. `head` is a global KV head or kAllHeads.
Projection gaussian_projection(std::uint64_t seed, std::uint32_t layer, std::uint32_t head, std::size_t hash_bits,
                               std::size_t head_dim);

/// The same rows made orthogonal to each other in blocks of head_dim rows; every row keeps its norm.
Projection orthogonalized(const Projection& projection);

}  // namespace hashevict::reference
