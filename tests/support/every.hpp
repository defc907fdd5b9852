// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/cache.hpp>

/// The values that tests go through where each of them counts.
namespace hashevict::test {

inline constexpr Policy kPolicies[] = {Policy::hash, Policy::window, Policy::random,    Policy::superseded,
                                       Policy::mean, Policy::votes,  Policy::importance};

/// The types of keys, values, queries and outputs.
inline constexpr DType kFloats[] = {DType::float32, DType::float16, DType::bfloat16};
/// Those of 16 bits.
inline constexpr DType kHalves[] = {DType::float16, DType::bfloat16};

/// Layouts without a block table.
inline constexpr Layout kDenseLayouts[] = {Layout::head_major, Layout::slot_major};

}  // namespace hashevict::test
