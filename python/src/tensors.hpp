// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <array>
#include <cstdint>
#include <hashevict/stream.hpp>
#include <hashevict/tensor.hpp>
#include <optional>
#include <string>

#include "dlpack.hpp"

namespace hashevict::python {

namespace nb = nanobind;

/// A tensor of the caller's, of any library that speaks DLPack or Python's buffer protocol: described without a copy,
/// and kept alive as long as this object.
class BorrowedTensor {
 public:
  enum class Use { read, write };

  /// @param name the argument, for messages
  /// @throws Error invalid_argument for an object that is no tensor, for a type of element that the library has not,
  ///         for more than HASHEVICT_MAX_RANK extents, and for read-only memory that the call writes
  BorrowedTensor(const char* name, nb::handle object, Use use);
  ~BorrowedTensor();
  BorrowedTensor(const BorrowedTensor&) = delete;
  BorrowedTensor& operator=(const BorrowedTensor&) = delete;

  [[nodiscard]] const Tensor& tensor() const { return tensor_; }
  [[nodiscard]] dlpack::Device device() const { return device_; }
  /// The stream on which the tensor's library now works; none for host memory, or where it cannot say.
  [[nodiscard]] std::optional<hashevict_stream> current_stream() const;

 private:
  bool borrow_by_exchange_api(const char* name, nb::handle object);
  bool borrow_buffer(const char* name, nb::handle object, Use use);
  void borrow_by_capsule(const char* name, nb::handle object, Use use);
  void describe(const char* name, const dlpack::Tensor& tensor);

  Tensor tensor_;
  dlpack::Device device_{dlpack::kCpu, 0};
  const dlpack::ExchangeApi* api_ = nullptr;
  nb::object owner_;
  Py_buffer buffer_{};
};

/// The memory in which the tensors of a call must lie.
struct MemorySpace {
  bool cuda;
  int32_t device;
};

/// Borrows the tensors of one call and finds its stream.
class Arguments {
 public:
  explicit Arguments(MemorySpace space) : space_{space} {}

  /// @return an absent tensor for None
  Tensor read(const char* name, nb::handle object) { return borrow(name, object, BorrowedTensor::Use::read); }
  Tensor write(const char* name, nb::handle object) { return borrow(name, object, BorrowedTensor::Use::write); }

  /// @param stream None: the stream on which the library of the tensors now works; a number: a `cudaStream_t`; else an
  ///        object with an attribute `cuda_stream`, as torch's have
  [[nodiscard]] Stream stream(nb::handle stream) const;

 private:
  Tensor borrow(const char* name, nb::handle object, BorrowedTensor::Use use);

  static constexpr std::size_t kMost = 14;
  MemorySpace space_;
  std::size_t count_ = 0;
  std::array<std::optional<BorrowedTensor>, kMost> tensors_;
};

}  // namespace hashevict::python
