// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hashevict::reference {

using Vector = std::vector<float>;

/// `R`: one row of head_dim elements for each bit of a code.
using Projection = std::vector<Vector>;

/// The head number of a projection that all heads of a layer share.
inline constexpr std::uint32_t kAllHeads = 0xFFFFFFFFU;

/// A matrix of independent standard normal entries in fp32. `head` is a global KV head or kAllHeads.
Projection gaussian_projection(std::uint64_t seed, std::uint32_t layer, std::uint32_t head, std::size_t hash_bits,
                               std::size_t head_dim);

/// The rows made orthogonal to each other within blocks of head_dim rows. Every row keeps its norm.
Projection orthogonalized(const Projection& projection);

}  // namespace hashevict::reference
