// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstring>
#include <type_traits>

/// Converts structs between C++ and the C ABI. A struct that a caller fills in has a *twin* in the C ABI: the same
/// fields under the same names, in the same order, of the same size. C++ has an enum where C has its number, a Tensor
/// for a hashevict_tensor, a vector at the end for a pointer. So only the two structs list the fields, which travel
/// between them as bytes. A struct without enums, tensors and vectors derives from its C struct.
namespace hashevict::detail {

/// Copies the first `bytes` bytes of `twin` to `c`: the fields before vectors and reserved words.
template <class C, class Twin>
void copy_to_c(C& c, const Twin& twin, std::size_t bytes) noexcept {
  static_assert(std::is_trivially_copyable_v<C> && std::is_standard_layout_v<C>);
  std::memcpy(&c, static_cast<const void*>(&twin), bytes);
}

/// Copies the first `bytes` bytes of `c` to `twin`.
template <class C, class Twin>
void copy_from_c(Twin& twin, const C& c, std::size_t bytes) noexcept {
  static_assert(std::is_trivially_copyable_v<C> && std::is_standard_layout_v<C>);
  std::memcpy(static_cast<void*>(&twin), &c, bytes);
}

/// Returns the versioned C struct whose fields after `struct_size` are those of `twin`.
template <class C, class Twin>
[[nodiscard]] C versioned(const Twin& twin) noexcept {
  static_assert(std::is_trivially_copyable_v<Twin> && sizeof(C) == sizeof(std::size_t) + sizeof(Twin),
                "the C struct and its twin differ in a field");
  C c{};
  c.struct_size = sizeof(C);
  std::memcpy(reinterpret_cast<unsigned char*>(&c) + sizeof(std::size_t), &twin, sizeof(Twin));
  return c;
}

/// Copies the fields of a versioned C struct, all after `struct_size`, to `twin`.
template <class C, class Twin>
void copy_fields_from_c(Twin& twin, const C& c) noexcept {
  static_assert(std::is_trivially_copyable_v<Twin> && sizeof(C) == sizeof(std::size_t) + sizeof(Twin),
                "the C struct and its twin differ in a field");
  std::memcpy(&twin, reinterpret_cast<const unsigned char*>(&c) + sizeof(std::size_t), sizeof(Twin));
}

}  // namespace hashevict::detail
