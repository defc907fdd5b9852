// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

/// The part of DLPack 1 (https://dmlc.github.io/dlpack/latest/) that an importer needs, as its header lays it out.
namespace hashevict::python::dlpack {

enum DeviceType : int32_t { kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13 };
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4 };

struct Device {
  int32_t type;
  int32_t id;
};

struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  ///< in elements; null: dense, row-major
  uint64_t byte_offset;
};

/// What a capsule named "dltensor" holds begins with its Tensor.
struct Managed {
  Tensor tensor;
};

struct Version {
  uint32_t major, minor;
};

inline constexpr uint64_t kReadOnly = 1;

/// What a capsule named "dltensor_versioned" holds.
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  uint64_t flags;
  Tensor tensor;
};

/// What the capsule "dlpack_exchange_api" holds, the attribute __dlpack_c_exchange_api__ of a tensor's type: functions
/// that neither allocate nor synchronise.
struct ExchangeApi {
  Version version;
  void* previous;
  void (*unused[3])();
  int (*tensor_of)(void* object, Tensor* tensor);  ///< describes a Python object of that type; 0, or -1 and an error
  int (*current_stream)(int32_t device_type, int32_t device, void** stream);
};

}  // namespace hashevict::python::dlpack
