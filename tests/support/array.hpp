// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <hashevict/cache.hpp>
#include <memory>
#include <vector>

namespace hashevict::test {

/// Bytes in a backend's memory. No other code of the tests allocates or copies such memory.
class BackendMemory {
 public:
  /// Aligned to HASHEVICT_ALIGNMENT and of exactly this length, so that a sanitizer detects an access to the next byte.
  BackendMemory(Backend backend, std::size_t bytes);

  [[nodiscard]] std::byte* data() const { return bytes_.get(); }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  struct Free {
    Backend backend;
    void operator()(std::byte* bytes) const;
  };
  std::size_t size_;
  std::unique_ptr<std::byte[], Free> bytes_;
};

/// Copies between the host and a backend's memory.
void upload(Backend backend, const void* host, void* target, std::size_t bytes);
std::vector<std::byte> download(Backend backend, const void* source, std::size_t bytes);

/// Copies the elements of a tensor from a backend's memory to a dense row-major array, whatever the tensor's strides.
std::vector<std::byte> read(Backend backend, const Tensor& tensor);
std::vector<float> read_floats(Backend backend, const Tensor& tensor);
std::vector<int32_t> read_ints(Backend backend, const Tensor& tensor);

/// A dense tensor with memory of its own.
class Array {
 public:
  /// Poisoned: floats are NaN, integers have a value that no operation computes.
  Array(Backend backend, DType dtype, std::initializer_list<int64_t> shape);
  Array(Backend backend, DType dtype, std::initializer_list<int64_t> shape, const std::vector<float>& values);
  Array(Backend backend, std::initializer_list<int64_t> shape, const std::vector<int32_t>& values);

  [[nodiscard]] const Tensor& tensor() const { return tensor_; }
  [[nodiscard]] std::vector<float> floats() const { return read_floats(backend_, tensor_); }
  [[nodiscard]] std::vector<int32_t> ints() const { return read_ints(backend_, tensor_); }
  [[nodiscard]] std::vector<std::byte> bytes() const { return read(backend_, tensor_); }

  /// The value of a poisoned integer element.
  static constexpr int32_t kPoison = -77777;

 private:
  Backend backend_;
  BackendMemory memory_;
  Tensor tensor_;
};

}  // namespace hashevict::test
