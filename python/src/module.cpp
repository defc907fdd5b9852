// SPDX-License-Identifier: Apache-2.0
// The extension module `hashevict._native`: the C++ face for Python, one subject a file. The package's Python files
// give its functions their defaults, types and documentation.
#include <nanobind/nanobind.h>

#include "cache.hpp"

namespace hashevict::python {
namespace {

/// Raises the library's errors as the classes of hashevict/errors.py.
void translate(const std::exception_ptr& thrown, void* /*payload*/) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    const nb::object raised =
        nb::module_::import_("hashevict.errors").attr("_of_status")(status_name(error.status()), error.what());
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
  }
}

}  // namespace

NB_MODULE(_native, module) {
  using namespace nb::literals;
  nb::set_leak_warnings(false);  // a compiled model in a global variable outlives the interpreter's last collection
  module.doc() = "The library hashevict for Python; use the package hashevict.";
  nb::register_exception_translator(translate);
  NativeClass cache(module, "Cache");
  cache.def(nb::init<nb::dict, nb::object>(), "parts"_a, "lent"_a.none());
  add_operations(cache);
  add_parameters(cache);
  add_sequences(cache);
  add_inspection(module, cache);
}

}  // namespace hashevict::python
