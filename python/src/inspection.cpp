// SPDX-License-Identifier: Apache-2.0
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <string>

#include "cache.hpp"
#include "config.hpp"
#include "values.hpp"

namespace hashevict::python {
namespace {

nb::dlpack::dtype to_dlpack(DType type) {
  switch (type) {
    case DType::float32:
      return nb::dtype<float>();
    case DType::float16:
      return {dlpack::kFloat, 16, 1};
    case DType::bfloat16:
      return {dlpack::kBfloat, 16, 1};
    case DType::int32:
      return nb::dtype<int32_t>();
    case DType::uint8:
      return nb::dtype<uint8_t>();
  }
  throw Error{Status::internal, "a dtype without a DLPack type"};
}

/// A tensor over the cache's memory that keeps `owner` alive.
template <class... Annotations>
nb::object share(const Tensor& tensor, MemorySpace space, nb::handle owner) {
  std::array<std::size_t, HASHEVICT_MAX_RANK> shape{};
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    const auto a = static_cast<std::size_t>(axis);
    shape[a] = static_cast<std::size_t>(tensor.shape[a]);
  }
  const nb::ndarray<Annotations...> array(tensor.data, static_cast<std::size_t>(tensor.rank), shape.data(), owner,
                                          tensor.stride, to_dlpack(tensor.element_type()),
                                          space.cuda ? nb::device::cuda::value : nb::device::cpu::value, space.device);
  return nb::cast(array, nb::rv_policy::reference);
}

nb::tuple view(nb::handle_t<NativeCache> self, int32_t layer, int32_t kv_head) {
  NativeCache& native = nb::cast<NativeCache&>(self);
  const View view = native.cache().view(layer, kv_head);
  const auto read_only = [&](const Tensor& tensor) {
    return share<nb::array_api, nb::ro>(tensor, native.space(), self);
  };
  return nb::make_tuple(share<nb::array_api>(view.keys, native.space(), self),
                        share<nb::array_api>(view.values, native.space(), self), read_only(view.codes),
                        read_only(view.positions), read_only(view.lengths), read_only(view.tokens_seen));
}

nb::dict statistics(NativeCache& self, int32_t layer, int32_t kv_head, int32_t sequence, nb::handle stream) {
  const Stream on = Arguments{self.space()}.stream(stream);
  const Statistics counted = self.cache().statistics(layer, kv_head, sequence, on);
  nb::dict result;
  result["tokens_seen"] = counted.tokens_seen;
  result["slots_used"] = counted.slots_used;
  result["slots_total"] = counted.slots_total;
  result["evictions"] = counted.evictions;
  result["kv_bytes"] = counted.kv_bytes;
  result["kv_bytes_full"] = counted.kv_bytes_full;
  return result;
}

nb::dict required_bytes(nb::dict parts) {
  const Bytes bytes = Cache::required_bytes(to_config(parts));
  nb::dict result;
  result["keys"] = bytes.keys;
  result["values"] = bytes.values;
  result["codes"] = bytes.codes;
  result["positions"] = bytes.positions;
  result["state"] = bytes.state;
  result["workspace"] = bytes.workspace;
  result["total"] = bytes.total;
  return result;
}

/// The names whose values `supports` takes.
template <class Enum>
nb::list supported(const Capabilities& capabilities, const char* names) {
  nb::list result;
  const nb::dict every = all_names();
  for (nb::handle name : every[names]) {
    if (capabilities.supports(to_enum<Enum>(names, name))) result.append(name);
  }
  return result;
}

nb::dict capabilities(nb::handle backend) {
  const Capabilities found = Cache::capabilities(to_enum<Backend>("backend", backend));
  nb::list hash_bits;
  for (int bit = 0; bit < 32; ++bit) {
    if (((found.hash_bits_mask >> bit) & 1U) != 0) hash_bits.append(1 << bit);
  }
  nb::dict result;
  result["version"] = std::to_string(found.version_major) + "." + std::to_string(found.version_minor) + "." +
                      std::to_string(found.version_patch);
  result["has_cuda_build"] = found.has_cuda_build != 0;
  result["num_cuda_devices"] = found.num_cuda_devices;
  result["max_head_dim"] = found.max_head_dim;
  result["num_hardware_threads"] = found.num_hardware_threads;
  result["hash_bits"] = nb::tuple(hash_bits);
  result["policies"] = nb::tuple(supported<Policy>(found, "policy"));
  result["prefill_modes"] = nb::tuple(supported<PrefillMode>(found, "prefill_mode"));
  result["layouts"] = nb::tuple(supported<Layout>(found, "layout"));
  result["storage_dtypes"] = nb::tuple(supported<DType>(found, "dtype"));
  result["cpu_target"] = found.cpu_target;
  result["host_memory_bytes"] = found.host_memory_bytes;
  return result;
}

nb::list divided_slots(nb::handle quantiles, int64_t total_slots, int32_t length, int32_t floor) {
  Arguments arguments{MemorySpace{false, 0}};
  nb::list result;
  for (const int32_t capacity : divide_slots(arguments.read("quantiles", quantiles), total_slots, length, floor)) {
    result.append(capacity);
  }
  return result;
}

}  // namespace

void add_inspection(nb::module_& module, NativeClass& cache) {
  using namespace nb::literals;
  cache.def("view", view, "layer"_a, "kv_head"_a);
  cache.def("statistics", statistics, "layer"_a, "kv_head"_a, "sequence"_a, "stream"_a.none());
  cache.def("config", [](NativeCache& self) { return from_config(self.cache().config()); });
  module.def("required_bytes", required_bytes, "parts"_a);
  module.def("capabilities", capabilities, "backend"_a);
  module.def("divide_slots", divided_slots, "quantiles"_a, "total_slots"_a, "length"_a, "floor"_a);
  module.def("names", all_names);
}

}  // namespace hashevict::python
