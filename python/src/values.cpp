// SPDX-License-Identifier: Apache-2.0
#include "values.hpp"

#include <limits>

namespace hashevict::python {
namespace {

[[noreturn]] void refuse(const std::string& name, nb::handle value, const std::string& expected) {
  PyErr_Clear();
  throw Error{Status::invalid_argument, name + " = " + shown(value) + ": expected " + expected};
}

/// `value` as a Python int. NumPy's integers convert; floats do not.
nb::object as_int(const std::string& name, nb::handle value) {
  PyObject* number = PyNumber_Index(value.ptr());
  if (number == nullptr) refuse(name, value, "an integer");
  return nb::steal(number);
}

}  // namespace

std::string shown(nb::handle value) {
  constexpr std::size_t kMost = 60;
  PyObject* text = PyObject_Repr(value.ptr());
  if (text == nullptr) {
    PyErr_Clear();
    return Py_TYPE(value.ptr())->tp_name;
  }
  const nb::object owner = nb::steal(text);
  const char* characters = PyUnicode_AsUTF8(text);
  if (characters == nullptr) {
    PyErr_Clear();
    return Py_TYPE(value.ptr())->tp_name;
  }
  const std::string whole{characters};
  if (whole.size() <= kMost && whole.find('\n') == std::string::npos) return whole;
  return std::string{"an object of type "} + Py_TYPE(value.ptr())->tp_name;
}

int64_t to_integer(const std::string& name, nb::handle value, int64_t least, int64_t most) {
  const nb::object number = as_int(name, value);
  int overflow = 0;
  const long long result = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0 || result < least || result > most) {
    refuse(name, value, "an integer from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return result;
}

int32_t to_int32(const std::string& name, nb::handle value) {
  constexpr auto kLimits = std::numeric_limits<int32_t>{};
  return static_cast<int32_t>(to_integer(name, value, kLimits.min(), kLimits.max()));
}

uint64_t to_uint64(const std::string& name, nb::handle value) {
  const nb::object number = as_int(name, value);
  const unsigned long long result = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred() != nullptr) refuse(name, value, "an integer from 0 to 2^64 - 1");
  return result;
}

double to_double(const std::string& name, nb::handle value) {
  const double result = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr) refuse(name, value, "a number");
  return result;
}

}  // namespace hashevict::python
