// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <hashevict/cache.hpp>
#include <string>

namespace hashevict::python {

namespace nb = nanobind;

/// Python's values as those of the library. Each throws Error invalid_argument, with `name` and the value in its
/// message, for what does not fit.
int64_t to_integer(const std::string& name, nb::handle value, int64_t least, int64_t most);
int32_t to_int32(const std::string& name, nb::handle value);
uint64_t to_uint64(const std::string& name, nb::handle value);
double to_double(const std::string& name, nb::handle value);

/// How Python writes a value, cut to what a message holds.
std::string shown(nb::handle value);

/// The names of an enum's values, as the command spells them.
template <class Enum>
Enum to_enum(const std::string& name, nb::handle value);
template <class Enum>
const char* name_of(Enum value);

/// `{enum: [name, ...]}` of every enum.
nb::dict all_names();

}  // namespace hashevict::python
