// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <vector>

#include "cache.hpp"

namespace hashevict::python {
namespace {

Stream stream_of(const NativeCache& self, nb::handle stream) {
  return Arguments{self.space()}.stream(stream);
}

void reset(NativeCache& self, int32_t sequence, nb::handle stream) {
  const Stream on = stream_of(self, stream);
  const nb::gil_scoped_release release;
  self.cache().reset(sequence, on);
}

void fork(NativeCache& self, int32_t source, int32_t target, nb::handle stream) {
  const Stream on = stream_of(self, stream);
  const nb::gil_scoped_release release;
  self.cache().fork(source, target, on);
}

nb::bytes save(NativeCache& self, int32_t sequence, nb::handle stream) {
  const Stream on = stream_of(self, stream);
  std::vector<std::byte> bytes;
  {
    const nb::gil_scoped_release release;
    bytes = self.cache().save(sequence, on);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

void load(NativeCache& self, int32_t sequence, nb::bytes data, nb::handle stream) {
  const Stream on = stream_of(self, stream);
  const nb::gil_scoped_release release;
  self.cache().load(sequence, data.c_str(), data.size(), on);
}

constexpr MemorySpace kHost{false, 0};

void set_projection(NativeCache& self, int32_t layer, nb::handle projection) {
  Arguments arguments{kHost};
  self.cache().set_projection(layer, arguments.read("projection", projection));
}

void get_projection(NativeCache& self, int32_t layer, nb::handle projection) {
  Arguments arguments{kHost};
  self.cache().get_projection(layer, arguments.write("projection", projection));
}

void set_center(NativeCache& self, int32_t layer, int32_t sequence, nb::handle key_center, nb::handle query_center) {
  Arguments arguments{kHost};
  const Tensor keys = arguments.read("key_center", key_center);
  self.cache().set_center(layer, sequence, keys, arguments.read("query_center", query_center));
}

void set_importance_weights(NativeCache& self, int32_t layer, nb::handle weight, nb::handle bias) {
  Arguments arguments{kHost};
  const Tensor weights = arguments.read("weight", weight);
  self.cache().set_importance_weights(layer, weights, arguments.read("bias", bias));
}

}  // namespace

void add_sequences(NativeClass& cache) {
  using namespace nb::literals;
  cache.def("reset", reset, "sequence"_a, "stream"_a.none());
  cache.def("fork", fork, "source"_a, "target"_a, "stream"_a.none());
  cache.def("save", save, "sequence"_a, "stream"_a.none());
  cache.def("save_bytes", [](NativeCache& self) { return self.cache().save_bytes(); });
  cache.def("load", load, "sequence"_a, "data"_a, "stream"_a.none());
}

void add_parameters(NativeClass& cache) {
  using namespace nb::literals;
  cache.def("set_projection", set_projection, "layer"_a, "projection"_a);
  cache.def("get_projection", get_projection, "layer"_a, "projection"_a);
  cache.def("set_center", set_center, "layer"_a, "sequence"_a, "key_center"_a, "query_center"_a);
  cache.def("set_importance_weights", set_importance_weights, "layer"_a, "weight"_a, "bias"_a);
}

}  // namespace hashevict::python
