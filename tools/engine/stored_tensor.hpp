// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <hashevict/status.hpp>
#include <hashevict/tensor.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hashevict::engine {

/// Element types that the safetensors reader and writer know.
enum class ElementType { f32, f16, bf16, i32, i64, u8 };

/// Bytes of one element.
std::size_t element_bytes(ElementType type);

/// Name in a safetensors header, such as `"BF16"`.
std::string_view element_name(ElementType type);

/// One element of a floating-point type, widened to fp32.
float widen(ElementType type, const std::byte* element);

/// A named tensor in memory that something else owns, an open `Safetensors` as a rule. Dense, row-major, aligned to its
/// element.
struct StoredTensor {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  /// Product of the shape; 1 for a scalar.
  std::int64_t num_elements() const;

  /// The elements of a tensor that is of this very type.
  /// @throws Error invalid_data if it is of another
  std::span<const float> f32() const;
  std::span<const std::int32_t> i32() const;
  std::span<const std::uint8_t> u8() const;

  /// All elements widened to fp32. @throws Error invalid_data for the integer types
  std::vector<float> to_floats() const;

  /// The same memory as a tensor of the library, read-only by contract.
  /// @throws Error invalid_data for I64, and for ranks above `HASHEVICT_MAX_RANK`
  hashevict::Tensor as_tensor() const;
};

}  // namespace hashevict::engine
