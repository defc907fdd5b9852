// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/core.h>

#include <exception>
#include <string>
#include <utility>

#include "hashevict/hashevict.h"

namespace hashevict::core {

/// The library's only error path. Code below the C ABI throws it; the C ABI catches it and returns a status and a
/// message.
class Failure : public std::exception {
 public:
  Failure(hashevict_status status, std::string message) : status_{status}, message_{std::move(message)} {}
  [[nodiscard]] hashevict_status status() const noexcept { return status_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  hashevict_status status_;
  std::string message_;
};

/// The part of fail() that does not depend on types, so that a single file compiles the formatting.
[[noreturn]] void fail_formatted(hashevict_status status, fmt::string_view format, fmt::format_args args);

/// Throws Failure with a formatted message: "argument = value: what was expected".
template <class... Args>
[[noreturn]] void fail(hashevict_status status, fmt::format_string<Args...> format, Args&&... args) {
  fail_formatted(status, format, fmt::make_format_args(args...));
}

/// fail(INVALID_ARGUMENT, ...) unless `condition` holds.
template <class... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) fail(HASHEVICT_INVALID_ARGUMENT, format, std::forward<Args>(args)...);
}

}  // namespace hashevict::core
