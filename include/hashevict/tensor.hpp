// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>
#include <hashevict/status.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <type_traits>

namespace hashevict {

/// Element types: the values of ::hashevict_dtype.
enum class DType : int32_t {
  float32 = HASHEVICT_FLOAT32,
  float16 = HASHEVICT_FLOAT16,    ///< IEEE binary16
  bfloat16 = HASHEVICT_BFLOAT16,  ///< upper half of a float32
  int32 = HASHEVICT_INT32,
  uint8 = HASHEVICT_UINT8
};
static_assert(static_cast<int>(DType::uint8) == 4, "a dtype was added to tensor.h: add it here");

namespace detail {

/// Maps a C++ element type to its dtype. Other types have no member `value`.
template <class T>
struct DTypeOf {};
template <>
struct DTypeOf<float> : std::integral_constant<DType, DType::float32> {};
template <>
struct DTypeOf<int32_t> : std::integral_constant<DType, DType::int32> {};
template <>
struct DTypeOf<uint8_t> : std::integral_constant<DType, DType::uint8> {};

}  // namespace detail

/// A strided view of memory that somebody else owns; trivially copyable, the size of ::hashevict_tensor.
///
/// A default-constructed tensor is *absent*, which optional arguments may be. The parameter that takes a tensor says
/// whether its elements are read or written. Memory behind a `const` pointer must go to read-only parameters alone.
///
/// The memory must stay valid until the operation that takes the tensor is done: on CUDA, until the stream has passed
/// it.
///
/// @code
/// std::vector<float> keys(tokens * num_kv_heads * head_dim);
/// hashevict::Tensor k{keys.data(), {tokens, num_kv_heads, head_dim}};                       // dtype deduced
/// hashevict::Tensor q{device_pointer, hashevict::DType::bfloat16, {1, num_qo_heads, head_dim}};
/// hashevict::Tensor column{keys.data(), {tokens, head_dim}, {num_kv_heads * head_dim, 1}};  // one head of k
/// @endcode
struct Tensor : hashevict_tensor {
  /// An absent tensor.
  Tensor() noexcept : hashevict_tensor{} {}

  /// Takes over a tensor of the C ABI as it is.
  explicit Tensor(const hashevict_tensor& tensor) noexcept : hashevict_tensor{tensor} {}

  /// A dense, row-major tensor: the last index is contiguous.
  /// @throws Error invalid_argument if the rank is above HASHEVICT_MAX_RANK
  Tensor(const void* pointer, DType element_type, std::initializer_list<int64_t> extents) : hashevict_tensor{} {
    set(pointer, element_type, extents);
    uint64_t step = 1;  // unsigned: extents that overflow are the library's to refuse, not undefined behaviour here
    for (int32_t axis = rank; axis-- > 0;) {
      stride[axis] = static_cast<int64_t>(step);
      step *= static_cast<uint64_t>(shape[axis]);
    }
  }

  /// A tensor with strides of its own, counted in elements.
  /// @throws Error invalid_argument if the rank is above HASHEVICT_MAX_RANK or strides and extents differ in number
  Tensor(const void* pointer, DType element_type, std::initializer_list<int64_t> extents,
         std::initializer_list<int64_t> strides)
      : hashevict_tensor{} {
    set(pointer, element_type, extents);
    if (strides.size() != extents.size()) {
      throw Error{Status::invalid_argument, "strides.size() = " + std::to_string(strides.size()) +
                                                ": expected one per extent, " + std::to_string(extents.size())};
    }
    std::copy(strides.begin(), strides.end(), stride);
  }

  /// As above, with the dtype deduced from `float`, `int32_t` or `uint8_t` (const or not).
  template <class T, DType element_type = detail::DTypeOf<std::remove_cv_t<T>>::value>
  Tensor(T* pointer, std::initializer_list<int64_t> extents) : Tensor{pointer, element_type, extents} {}

  template <class T, DType element_type = detail::DTypeOf<std::remove_cv_t<T>>::value>
  Tensor(T* pointer, std::initializer_list<int64_t> extents, std::initializer_list<int64_t> strides)
      : Tensor{pointer, element_type, extents, strides} {}

  /// Whether the tensor has memory.
  [[nodiscard]] bool present() const noexcept { return data != nullptr; }

  [[nodiscard]] DType element_type() const noexcept { return static_cast<DType>(dtype); }

  /// The data as elements of type T. The caller guarantees that T has the tensor's dtype, and that the host can read
  /// the memory.
  template <class T>
  [[nodiscard]] T* data_as() const noexcept {
    return static_cast<T*>(data);
  }

 private:
  void set(const void* pointer, DType type, std::initializer_list<int64_t> extents) {
    if (extents.size() > HASHEVICT_MAX_RANK) {
      throw Error{Status::invalid_argument, "rank = " + std::to_string(extents.size()) + ": expected at most " +
                                                std::to_string(HASHEVICT_MAX_RANK)};
    }
    data = const_cast<void*>(pointer);  // the C ABI has one tensor type; parameters say whether they write
    dtype = static_cast<int32_t>(type);
    rank = static_cast<int32_t>(extents.size());
    std::copy(extents.begin(), extents.end(), shape);
  }
};
static_assert(sizeof(Tensor) == sizeof(hashevict_tensor), "a Tensor is passed where C expects a hashevict_tensor");
static_assert(std::is_trivially_copyable_v<Tensor>, "a Tensor is copied as plain bytes");

}  // namespace hashevict
