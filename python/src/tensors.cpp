// SPDX-License-Identifier: Apache-2.0
#include "tensors.hpp"

#include <hashevict/status.hpp>

#include "values.hpp"

namespace hashevict::python {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& text) {
  throw Error{Status::invalid_argument, std::string{name} + ": " + text};
}

/// The first line of an exception's message.
std::string message_of(nb::handle exception) {
  const nb::object text = nb::steal(PyObject_Str(exception.ptr()));
  const char* characters = text.is_valid() ? PyUnicode_AsUTF8(text.ptr()) : nullptr;
  PyErr_Clear();
  const std::string whole{characters != nullptr ? characters : Py_TYPE(exception.ptr())->tp_name};
  return whole.substr(0, whole.find('\n'));
}

/// The first line of Python's present error, which is cleared.
std::string take_python_error() {
  return message_of(nb::python_error{}.value());
}

DType dtype_of(const char* name, dlpack::DataType type) {
  const auto is = [&](int code, int bits) { return type.code == code && type.bits == bits && type.lanes == 1; };
  if (is(dlpack::kFloat, 32)) return DType::float32;
  if (is(dlpack::kFloat, 16)) return DType::float16;
  if (is(dlpack::kBfloat, 16)) return DType::bfloat16;
  if (is(dlpack::kInt, 32)) return DType::int32;
  if (is(dlpack::kUInt, 8)) return DType::uint8;
  const char* const kinds[] = {"int", "uint", "float", "handle", "bfloat", "complex", "bool"};
  const std::string kind = type.code < std::size(kinds) ? kinds[type.code] : "DLPack type " + std::to_string(type.code);
  refuse(name, "dtype " + kind + std::to_string(type.bits) + ": expected float32, float16, bfloat16, int32 or uint8");
}

/// The element type of a buffer in the machine's byte order.
DType dtype_of(const char* name, const Py_buffer& buffer) {
  std::string format{buffer.format != nullptr ? buffer.format : "B"};
  if (format.size() > 1 && (format[0] == '@' || format[0] == '=')) format.erase(0, 1);
  if (format == "f") return DType::float32;
  if (format == "e") return DType::float16;
  if (format == "B") return DType::uint8;
  if (buffer.itemsize == 4 && (format == "i" || format == "l")) return DType::int32;
  const bool is_integer = format == "l" || format == "q" || format == "i" || format == "h" || format == "b";
  std::string kind = "of format '" + format + "'";
  if (format == "d") kind = "float64";
  if (format == "?") kind = "bool";
  if (is_integer) kind = "int" + std::to_string(8 * buffer.itemsize);
  refuse(name, "dtype " + kind + ": expected float32, float16, bfloat16, int32 or uint8");
}

void check_rank(const char* name, int64_t rank) {
  if (rank <= HASHEVICT_MAX_RANK) return;
  refuse(name, std::to_string(rank) + " dimensions: expected at most " + std::to_string(HASHEVICT_MAX_RANK));
}

/// The table of functions of a type, or null if it has none of a version that we know.
const dlpack::ExchangeApi* find_exchange_api(PyTypeObject* type) {
  const nb::object capsule =
      nb::steal(PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__"));
  const auto* api = static_cast<const dlpack::ExchangeApi*>(
      capsule.is_valid() ? PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api") : nullptr);
  PyErr_Clear();
  return api != nullptr && api->version.major == 1 && api->tensor_of != nullptr ? api : nullptr;
}

/// find_exchange_api() of an object's type, which remembers the types seen last. The interpreter's lock guards them.
const dlpack::ExchangeApi* exchange_api_of(nb::handle object) {
  struct Known {
    PyTypeObject* type;
    const dlpack::ExchangeApi* api;
  };
  static std::array<Known, 4> known{};
  static std::size_t next = 0;
  PyTypeObject* const type = Py_TYPE(object.ptr());
  for (const Known& entry : known) {
    if (entry.type == type) return entry.api;
  }
  Known& entry = known[next++ % known.size()];
  Py_INCREF(type);  // a freed type's address could name another type later
  Py_XDECREF(entry.type);
  entry = {type, find_exchange_api(type)};
  return entry.api;
}

/// Whether a tensor of torch is part of a graph. DLPack's own export refuses such a tensor, the exchange API does not.
bool requires_grad(nb::handle object) {
  const nb::object answer = nb::steal(PyObject_GetAttrString(object.ptr(), "requires_grad"));
  PyErr_Clear();
  return answer.is_valid() && answer.ptr() == Py_True;
}

bool is_cuda(dlpack::Device device) {
  return device.type == dlpack::kCuda;
}

}  // namespace

BorrowedTensor::BorrowedTensor(const char* name, nb::handle object, Use use) {
  if (!borrow_by_exchange_api(name, object) && !borrow_buffer(name, object, use)) {
    borrow_by_capsule(name, object, use);
  }
}

BorrowedTensor::~BorrowedTensor() {
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
}

bool BorrowedTensor::borrow_by_exchange_api(const char* name, nb::handle object) {
  api_ = exchange_api_of(object);
  if (api_ == nullptr) return false;
  dlpack::Tensor tensor{};
  if (api_->tensor_of(object.ptr(), &tensor) != 0) refuse(name, take_python_error());
  if (requires_grad(object)) refuse(name, "it requires gradients, and the cache has none: expected a detached tensor");
  describe(name, tensor);
  owner_ = nb::borrow(object);
  return true;
}

bool BorrowedTensor::borrow_buffer(const char* name, nb::handle object, Use use) {
  if (PyObject_CheckBuffer(object.ptr()) == 0) return false;
  if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_STRIDES | PyBUF_FORMAT) != 0) refuse(name, take_python_error());
  if (use == Use::write && buffer_.readonly != 0) refuse(name, "its memory is read-only, and the call writes it");
  check_rank(name, buffer_.ndim);
  tensor_.data = buffer_.buf;
  tensor_.dtype = static_cast<int32_t>(dtype_of(name, buffer_));
  tensor_.rank = buffer_.ndim;
  for (int axis = 0; axis < buffer_.ndim; ++axis) {
    tensor_.shape[axis] = buffer_.shape[axis];
    if (buffer_.strides[axis] % buffer_.itemsize != 0) {
      refuse(name, "stride of " + std::to_string(buffer_.strides[axis]) + " bytes: expected whole elements of " +
                       std::to_string(buffer_.itemsize) + " bytes");
    }
    tensor_.stride[axis] = buffer_.strides[axis] / buffer_.itemsize;
  }
  return true;
}

void BorrowedTensor::borrow_by_capsule(const char* name, nb::handle object, Use use) {
  if (!nb::hasattr(object, "__dlpack__") || !nb::hasattr(object, "__dlpack_device__")) {
    refuse(name, std::string{Py_TYPE(object.ptr())->tp_name} +
                     " is no tensor: expected one that speaks DLPack (torch) or the buffer protocol (NumPy)");
  }
  const nb::object device = object.attr("__dlpack_device__")();
  nb::dict options;
  options["max_version"] = nb::make_tuple(1, 0);
  if (nb::cast<int32_t>(device[0]) == dlpack::kCuda) options["stream"] = -1;  // the call runs on the tensors' stream
  try {
    owner_ = object.attr("__dlpack__")(**options);
  } catch (nb::python_error& error) {
    if (!error.matches(PyExc_TypeError)) refuse(name, message_of(error.value()));
    try {
      owner_ = object.attr("__dlpack__")();
    } catch (nb::python_error& old) {
      refuse(name, message_of(old.value()));
    }
  }
  if (PyCapsule_IsValid(owner_.ptr(), "dltensor_versioned") != 0) {
    const auto* managed =
        static_cast<dlpack::ManagedVersioned*>(PyCapsule_GetPointer(owner_.ptr(), "dltensor_versioned"));
    if (managed->version.major != 1) refuse(name, "DLPack version " + std::to_string(managed->version.major));
    if (use == Use::write && (managed->flags & dlpack::kReadOnly) != 0) {
      refuse(name, "its memory is read-only, and the call writes it");
    }
    describe(name, managed->tensor);
  } else if (PyCapsule_IsValid(owner_.ptr(), "dltensor") != 0) {
    describe(name, static_cast<dlpack::Managed*>(PyCapsule_GetPointer(owner_.ptr(), "dltensor"))->tensor);
  } else {
    refuse(name, "its __dlpack__() returned no DLPack capsule");
  }
}

void BorrowedTensor::describe(const char* name, const dlpack::Tensor& tensor) {
  check_rank(name, tensor.ndim);
  device_ = tensor.device;
  tensor_.data = tensor.data == nullptr ? nullptr : static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
  tensor_.dtype = static_cast<int32_t>(dtype_of(name, tensor.dtype));
  tensor_.rank = tensor.ndim;
  int64_t step = 1;
  for (int32_t axis = tensor.ndim; axis-- > 0;) {
    tensor_.shape[axis] = tensor.shape[axis];
    tensor_.stride[axis] = tensor.strides != nullptr ? tensor.strides[axis] : step;
    step *= tensor.shape[axis];
  }
}

std::optional<hashevict_stream> BorrowedTensor::current_stream() const {
  if (!is_cuda(device_)) return std::nullopt;
  void* stream = nullptr;
  if (api_ != nullptr && api_->current_stream != nullptr) {
    if (api_->current_stream(device_.type, device_.id, &stream) != 0) throw nb::python_error{};
    return stream;
  }
  // A torch without the exchange API; another library's tensor is taken on the default stream.
  const nb::object modules = nb::module_::import_("sys").attr("modules");
  if (!nb::cast<bool>(modules.attr("__contains__")("torch"))) return std::nullopt;
  const nb::object current = modules["torch"].attr("cuda").attr("current_stream")(device_.id).attr("cuda_stream");
  return reinterpret_cast<void*>(static_cast<uintptr_t>(to_uint64("stream", current)));
}

Tensor Arguments::borrow(const char* name, nb::handle object, BorrowedTensor::Use use) {
  if (object.is_none()) return {};
  const BorrowedTensor& borrowed = tensors_[count_++].emplace(name, object, use);
  const dlpack::Device device = borrowed.device();
  const bool fits = device.type == dlpack::kCudaManaged ||
                    (space_.cuda ? is_cuda(device) && device.id == space_.device
                                 : device.type == dlpack::kCpu || device.type == dlpack::kCudaHost);
  if (!fits) {
    const std::string here = is_cuda(device) ? "on CUDA device " + std::to_string(device.id)
                                             : "in memory of DLPack type " + std::to_string(device.type);
    refuse(name, here + ": expected " +
                     (space_.cuda ? "memory of CUDA device " + std::to_string(space_.device) + ", where the cache is"
                                  : "host memory, where the cache is"));
  }
  return borrowed.tensor();
}

Stream Arguments::stream(nb::handle stream) const {
  if (!space_.cuda) return kDefaultStream;
  if (!stream.is_none()) {
    const nb::object number =
        nb::hasattr(stream, "cuda_stream") ? nb::object{stream.attr("cuda_stream")} : nb::borrow(stream);
    return Stream{reinterpret_cast<void*>(static_cast<uintptr_t>(to_uint64("stream", number)))};
  }
  for (std::size_t i = 0; i < count_; ++i) {
    if (const std::optional<hashevict_stream> current = tensors_[i]->current_stream()) return Stream{*current};
  }
  return kDefaultStream;
}

}  // namespace hashevict::python
