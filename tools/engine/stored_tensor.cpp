// SPDX-License-Identifier: Apache-2.0
#include "stored_tensor.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace hashevict::engine {
namespace {

struct TypeInfo {
  std::string_view name;
  std::size_t bytes;
};
// In the order of ElementType.
constexpr std::array<TypeInfo, 6> kTypes = {{{"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I32", 4}, {"I64", 8}, {"U8", 1}}};

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

template <class T>
std::span<const T> elements(const StoredTensor& tensor, ElementType type) {
  if (tensor.type != type) {
    throw Error{Status::invalid_data, "tensor " + tensor.name + ": is " + std::string(element_name(tensor.type)) +
                                          ", expected " + std::string(element_name(type))};
  }
  return {reinterpret_cast<const T*>(tensor.bytes.data()), tensor.bytes.size() / sizeof(T)};
}

DType library_type(const StoredTensor& tensor) {
  switch (tensor.type) {
    case ElementType::f32:
      return DType::float32;
    case ElementType::f16:
      return DType::float16;
    case ElementType::bf16:
      return DType::bfloat16;
    case ElementType::i32:
      return DType::int32;
    case ElementType::u8:
      return DType::uint8;
    case ElementType::i64:
      break;
  }
  throw Error{Status::invalid_data, "tensor " + tensor.name + ": I64 has no counterpart in the library"};
}

}  // namespace

std::size_t element_bytes(ElementType type) {
  return info(type).bytes;
}

std::string_view element_name(ElementType type) {
  return info(type).name;
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

std::int64_t StoredTensor::num_elements() const {
  return static_cast<std::int64_t>(bytes.size() / element_bytes(type));
}

std::span<const float> StoredTensor::f32() const {
  return elements<float>(*this, ElementType::f32);
}
std::span<const std::int32_t> StoredTensor::i32() const {
  return elements<std::int32_t>(*this, ElementType::i32);
}
std::span<const std::uint8_t> StoredTensor::u8() const {
  return elements<std::uint8_t>(*this, ElementType::u8);
}

std::vector<float> StoredTensor::to_floats() const {
  if (type != ElementType::f32 && type != ElementType::f16 && type != ElementType::bf16) {
    throw Error{Status::invalid_data,
                "tensor " + name + ": is " + std::string(element_name(type)) + ", expected F32, F16 or BF16"};
  }
  const std::size_t step = element_bytes(type);
  std::vector<float> values(bytes.size() / step);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = widen(type, bytes.data() + i * step);
  return values;
}

hashevict::Tensor StoredTensor::as_tensor() const {
  if (shape.size() > HASHEVICT_MAX_RANK) {
    throw Error{Status::invalid_data, "tensor " + name + ": has rank " + std::to_string(shape.size()) +
                                          ", expected at most " + std::to_string(HASHEVICT_MAX_RANK)};
  }
  hashevict::Tensor tensor{bytes.data(), library_type(*this), {}};
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
