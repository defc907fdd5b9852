// SPDX-License-Identifier: Apache-2.0
#include "stored_tensor.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <optional>

namespace hashevict::engine {
namespace {

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;
  std::optional<DType> dtype;  // its counterpart in the library
};
// In the order of ElementType.
constexpr std::array<TypeInfo, 7> kTypes = {{{"F32", 4, DType::float32},
                                             {"F16", 2, DType::float16},
                                             {"BF16", 2, DType::bfloat16},
                                             {"I32", 4, DType::int32},
                                             {"I64", 8, {}},
                                             {"U8", 1, DType::uint8},
                                             {"another type", 1, {}}}};

const TypeInfo& info(ElementType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

// IEEE binary16: 1 sign, 5 exponent and 10 mantissa bits.
float widen_half(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1fU;
  const std::uint32_t mantissa = bits & 0x3ffU;
  if (exponent == 0) {
    const float magnitude = std::ldexp(static_cast<float>(mantissa), -24);
    return sign != 0 ? -magnitude : magnitude;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (mantissa << 13));
}

[[noreturn]] void fail(const StoredTensor& tensor, const std::string& message) {
  throw Error{Status::invalid_data, "tensor " + tensor.name + ": " + message};
}

[[noreturn]] void fail_of_type(const StoredTensor& tensor, std::string_view expected) {
  fail(tensor, "is " + std::string(tensor.type_name()) + ", expected " + std::string(expected));
}

template <class T>
std::span<const T> elements(const StoredTensor& tensor) {
  if (tensor.type != element_type_of<T>) fail_of_type(tensor, element_name(element_type_of<T>));
  return {reinterpret_cast<const T*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(T)};
}

// Elements whose exponent has every bit set are infinite or NaN.
template <class Bits>
std::optional<std::size_t> first_with_exponent(std::span<const std::byte> bytes, Bits exponent) {
  for (std::size_t i = 0; i < bytes.size() / sizeof(Bits); ++i) {
    Bits bits = 0;
    std::memcpy(&bits, bytes.data() + i * sizeof(Bits), sizeof bits);
    if ((bits & exponent) == exponent) return i;
  }
  return std::nullopt;
}

// Requires a floating-point type.
std::optional<std::size_t> first_non_finite(const StoredTensor& tensor) {
  if (tensor.type == ElementType::f32) return first_with_exponent<std::uint32_t>(tensor.bytes, 0x7f800000U);
  if (tensor.type == ElementType::f16) return first_with_exponent<std::uint16_t>(tensor.bytes, 0x7c00U);
  return first_with_exponent<std::uint16_t>(tensor.bytes, 0x7f80U);
}

// Returns an element's index along each axis.
std::vector<std::int64_t> place_of(std::size_t index, const std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> place(shape.size());
  auto rest = static_cast<std::int64_t>(index);
  for (std::size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) place[axis] = rest % shape[axis];
  return place;
}

}  // namespace

std::size_t element_bytes(ElementType type) {
  return info(type).bytes;
}

std::string_view element_name(ElementType type) {
  return info(type).name;
}

std::string show(const std::vector<std::int64_t>& extents) {
  std::string text = "[";
  for (const std::int64_t extent : extents) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

float widen(ElementType type, const std::byte* element) {
  if (type == ElementType::f32) {
    float value = 0;
    std::memcpy(&value, element, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, element, sizeof bits);
  if (type == ElementType::f16) return widen_half(bits);
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

std::string_view StoredTensor::type_name() const {
  return type == ElementType::other ? std::string_view(other_type) : element_name(type);
}

std::int64_t StoredTensor::num_elements() const {
  if (type == ElementType::other) {
    return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  }
  return static_cast<std::int64_t>(bytes.size() / element_bytes(type));
}

std::span<const float> StoredTensor::f32() const {
  return elements<float>(*this);
}
std::span<const std::int32_t> StoredTensor::i32() const {
  return elements<std::int32_t>(*this);
}
std::span<const std::uint8_t> StoredTensor::u8() const {
  return elements<std::uint8_t>(*this);
}

bool StoredTensor::is_floating() const {
  return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16;
}

std::vector<float> StoredTensor::to_floats() const {
  if (!is_floating()) fail_of_type(*this, "F32, F16 or BF16");
  const std::size_t step = element_bytes(type);
  std::vector<float> values(bytes.size() / step);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = widen(type, bytes.data() + i * step);
  return values;
}

std::string StoredTensor::non_finite_element() const {
  const std::optional<std::size_t> index = first_non_finite(*this);
  if (!index) return {};
  const float value = widen(type, bytes.data() + *index * element_bytes(type));
  const char* name = std::isnan(value) ? "NaN" : value > 0 ? "infinite" : "infinite (negative)";
  return "element " + show(place_of(*index, shape)) + " is " + name;
}

hashevict::Tensor StoredTensor::as_tensor() const {
  if (shape.size() > HASHEVICT_MAX_RANK) {
    fail(*this,
         "has rank " + std::to_string(shape.size()) + ", expected at most " + std::to_string(HASHEVICT_MAX_RANK));
  }
  if (!info(type).dtype) fail(*this, std::string(type_name()) + " has no counterpart in the library");
  hashevict::Tensor tensor{bytes.data(), *info(type).dtype, {}};
  tensor.rank = static_cast<std::int32_t>(shape.size());
  std::int64_t stride = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    tensor.shape[axis] = shape[axis];
    tensor.stride[axis] = stride;
    stride *= std::max<std::int64_t>(shape[axis], 1);
  }
  return tensor;
}

}  // namespace hashevict::engine
