// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <hashevict/config.hpp>

namespace hashevict::python {

namespace nb = nanobind;

/// `{"shape": {field: value}, "rule": ..., "layer_rules": [rule, ...], "placement": ..., "execution": ...}`; what is
/// absent keeps its default. A rule's "preset" comes first, then the other fields.
/// @throws Error invalid_argument for an unknown field, and for a value of another type
Config to_config(nb::dict parts);

/// The same parts with every field.
nb::dict from_config(const Config& config);

}  // namespace hashevict::python
