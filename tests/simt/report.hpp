// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace hashevict::simt {

/// A fault of a launch. what() gives its place and the seed that reproduces it.
class Report : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The place where a kernel calls a primitive. As a default argument, `Place::here()` is the place of the call.
struct Place {
  const char* file;
  int line;

  static constexpr Place here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
};

/// A number for a place, always the same; place_of() returns the place.
uint16_t number_of(const Place& place);
Place place_of(uint16_t number);

/// `encode.cuh:33`
std::string text_of(const Place& place);

/// `0-3,17`
std::string text_of_lanes(uint32_t mask);

}  // namespace hashevict::simt
