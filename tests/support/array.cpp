// SPDX-License-Identifier: Apache-2.0
#include "support/array.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <stdexcept>

#include "support/device.hpp"
#include "support/element.hpp"

namespace hashevict::test {
namespace {

constexpr std::align_val_t kAlignment{HASHEVICT_ALIGNMENT};

std::size_t count(std::initializer_list<int64_t> shape) {
  return static_cast<std::size_t>(std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>{}));
}

std::vector<std::byte> encoded(DType dtype, const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * size_of(dtype));
  for (std::size_t i = 0; i < values.size(); ++i) store(dtype, values[i], bytes.data() + i * size_of(dtype));
  return bytes;
}

std::vector<std::byte> poison(DType dtype, std::size_t elements) {
  if (dtype == DType::uint8) return std::vector<std::byte>(elements, std::byte{0xA5});
  if (dtype != DType::int32) {
    return encoded(dtype, std::vector<float>(elements, std::numeric_limits<float>::quiet_NaN()));
  }
  std::vector<std::byte> bytes(elements * sizeof(int32_t));
  for (std::size_t i = 0; i < elements; ++i) {
    std::memcpy(bytes.data() + i * sizeof(int32_t), &Array::kPoison, sizeof(int32_t));
  }
  return bytes;
}

}  // namespace

BackendMemory::BackendMemory(Backend backend, std::size_t bytes) : size_{bytes}, bytes_{nullptr, Free{backend}} {
  bytes_.reset(backend == Backend::cpu
                   ? static_cast<std::byte*>(::operator new(std::max<std::size_t>(bytes, 1), kAlignment))
                   : device::allocate(bytes));
}

void BackendMemory::Free::operator()(std::byte* bytes) const {
  if (backend == Backend::cpu) {
    ::operator delete(bytes, kAlignment);
  } else {
    device::release(bytes);
  }
}

void upload(Backend backend, const void* host, void* target, std::size_t bytes) {
  if (bytes == 0) return;
  if (backend == Backend::cpu) {
    std::memcpy(target, host, bytes);
  } else {
    device::upload(host, target, bytes);
  }
}

std::vector<std::byte> download(Backend backend, const void* source, std::size_t bytes) {
  std::vector<std::byte> result(bytes);
  if (bytes == 0) return result;
  if (backend == Backend::cpu) {
    std::memcpy(result.data(), source, bytes);
  } else {
    device::download(source, result.data(), bytes);
  }
  return result;
}

std::vector<std::byte> read(Backend backend, const Tensor& tensor) {
  const std::size_t element = size_of(tensor.element_type());
  const auto rank = static_cast<std::size_t>(tensor.rank);
  std::size_t total = 1;
  std::size_t extent = 1;
  for (std::size_t i = 0; i < rank; ++i) {
    total *= static_cast<std::size_t>(tensor.shape[i]);
    extent += static_cast<std::size_t>((tensor.shape[i] - 1) * tensor.stride[i]);
  }
  if (total == 0) return {};
  const std::vector<std::byte> source = download(backend, tensor.data, extent * element);
  std::vector<std::byte> result(total * element);
  for (std::size_t n = 0; n < total; ++n) {
    std::size_t rest = n;
    std::size_t offset = 0;
    for (std::size_t i = rank; i-- > 0;) {
      const auto length = static_cast<std::size_t>(tensor.shape[i]);
      offset += rest % length * static_cast<std::size_t>(tensor.stride[i]);
      rest /= length;
    }
    std::memcpy(result.data() + n * element, source.data() + offset * element, element);
  }
  return result;
}

std::vector<float> read_floats(Backend backend, const Tensor& tensor) {
  const std::vector<std::byte> bytes = read(backend, tensor);
  const std::size_t element = size_of(tensor.element_type());
  std::vector<float> values(bytes.size() / element);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = load(tensor.element_type(), bytes.data() + i * element);
  return values;
}

std::vector<int32_t> read_ints(Backend backend, const Tensor& tensor) {
  const std::vector<std::byte> bytes = read(backend, tensor);
  std::vector<int32_t> values(bytes.size() / sizeof(int32_t));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Array::Array(Backend backend, DType dtype, std::initializer_list<int64_t> shape)
    : backend_{backend}, memory_{backend, count(shape) * size_of(dtype)}, tensor_{memory_.data(), dtype, shape} {
  upload(backend, poison(dtype, count(shape)).data(), memory_.data(), memory_.size());
}

Array::Array(Backend backend, DType dtype, std::initializer_list<int64_t> shape, const std::vector<float>& values)
    : backend_{backend}, memory_{backend, count(shape) * size_of(dtype)}, tensor_{memory_.data(), dtype, shape} {
  if (values.size() != count(shape)) throw std::logic_error("values do not fill the shape");
  upload(backend, encoded(dtype, values).data(), memory_.data(), memory_.size());
}

Array::Array(Backend backend, std::initializer_list<int64_t> shape, const std::vector<int32_t>& values)
    : backend_{backend},
      memory_{backend, count(shape) * sizeof(int32_t)},
      tensor_{memory_.data(), DType::int32, shape} {
  if (values.size() != count(shape)) throw std::logic_error("values do not fill the shape");
  upload(backend, values.data(), memory_.data(), memory_.size());
}

}  // namespace hashevict::test
