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

/// Element types that can be read and written. Of a tensor of any other type only name, shape and bytes are known.
enum class ElementType { f32, f16, bf16, i32, i64, u8, other };

/// The element type of a C++ type: float, int32 or uint8.
template <class T>
inline constexpr ElementType element_type_of = ElementType::other;
template <>
inline constexpr ElementType element_type_of<float> = ElementType::f32;
template <>
inline constexpr ElementType element_type_of<std::int32_t> = ElementType::i32;
template <>
inline constexpr ElementType element_type_of<std::uint8_t> = ElementType::u8;

/// Bytes of one element; 1 for `other`, whose elements are never read.
std::size_t element_bytes(ElementType type);

/// Name in a safetensors header, such as `"BF16"`.
std::string_view element_name(ElementType type);

/// Formats a shape, or an index along each axis, for messages: `[2, 1]`.
std::string show(const std::vector<std::int64_t>& extents);

/// Reads one element of a floating-point type, widened to fp32.
float widen(ElementType type, const std::byte* element);

/// A named tensor in memory that somebody else owns, usually an open `Safetensors`. Dense, row-major, aligned to its
/// element.
struct StoredTensor {
  std::string name;
  ElementType type = ElementType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::string other_type = {};  ///< the file's name of the type `other`

  /// The type as a safetensors header names it.
  std::string_view type_name() const;

  /// Product of the shape; 1 for a scalar.
  std::int64_t num_elements() const;

  /// The elements of a tensor of type T.
  /// @throws Error invalid_data for a tensor of another type
  std::span<const float> f32() const;
  std::span<const std::int32_t> i32() const;
  std::span<const std::uint8_t> u8() const;

  /// Whether the type is F32, F16 or BF16.
  bool is_floating() const;

  /// All elements widened to fp32. @throws Error invalid_data unless F32, F16 or BF16
  std::vector<float> to_floats() const;

  /// Names the first element of an F32, F16 or BF16 tensor that is not finite, by index and value, such as
  /// `element [2, 1] is NaN`; empty if all are finite.
  std::string non_finite_element() const;

  /// The same memory as a tensor of the library. The caller must not write it.
  /// @throws Error invalid_data for I64 and `other`, and for ranks above `HASHEVICT_MAX_RANK`
  hashevict::Tensor as_tensor() const;
};

}  // namespace hashevict::engine
