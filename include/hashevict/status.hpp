// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/hashevict.h>

#if defined(__GNUC__) && !defined(__EXCEPTIONS)
#error "the C++ face of hashevict reports errors as exceptions: without them include <hashevict/hashevict.h>, the C ABI"
#endif

#include <stdexcept>
#include <string>
#include <utility>

namespace hashevict {

/// The status of a call: the values of ::hashevict_status.
enum class Status : int {
  ok = HASHEVICT_OK,
  invalid_argument = HASHEVICT_INVALID_ARGUMENT,  ///< out of range, or arguments contradict each other
  invalid_state = HASHEVICT_INVALID_STATE,        ///< the arguments are valid, but not in the cache's present state
  unsupported = HASHEVICT_UNSUPPORTED,            ///< this build, backend or device cannot do it
  out_of_memory = HASHEVICT_OUT_OF_MEMORY,        ///< the system gave no memory, or not the threads asked for
  invalid_data = HASHEVICT_INVALID_DATA,          ///< the bytes given to Cache::load() are not a state of this cache
  backend_error = HASHEVICT_BACKEND_ERROR,        ///< the device's runtime reported an error
  internal = HASHEVICT_INTERNAL                   ///< a defect of this library
};
static_assert(static_cast<int>(Status::internal) == 7, "a status was added to status.h: add it here");

/// Short constant name of a status, such as `"invalid_argument"`. Never null.
[[nodiscard]] inline const char* status_name(Status status) noexcept {
  return hashevict_status_name(static_cast<hashevict_status>(status));
}

/// Thrown by every function of this namespace that fails. The call that threw has changed no state.
///
/// what() is the library's message: one line that names the argument, its value and what was expected.
class HASHEVICT_API Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& message) : std::runtime_error{message}, status_{status} {}
  Error(Status status, const char* message) : std::runtime_error{message}, status_{status} {}

  [[nodiscard]] Status status() const noexcept { return status_; }

 private:
  Status status_;
};

namespace detail {

/// Runs `call(hashevict_error*)` and turns every status but OK into an Error.
template <class Call>
void check(Call&& call) {
  hashevict_error error;
  error.message[0] = '\0';
  const hashevict_status status = std::forward<Call>(call)(&error);
  if (status != HASHEVICT_OK) throw Error{static_cast<Status>(status), error.message};
}

}  // namespace detail
}  // namespace hashevict
