// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <ostream>
#include <string_view>
#include <type_traits>
#include <utility>

namespace hashevict::test {

/// A scoped enumeration. It converts to no integer, so by default tests print its bytes.
template <class T>
concept ScopedEnum = std::is_enum_v<T> && !std::convertible_to<T, int>;

/// The spelling of the enumerator with this value; empty if there is none. It comes from the compiler, so a new
/// enumerator has its name at once: "... [with auto value = hashevict::Policy::hash; ...]" and "... =
/// (hashevict::Policy)99".
template <auto value>
constexpr std::string_view enumerator() {
  constexpr std::string_view kBefore = "value = ";
  std::string_view name = __PRETTY_FUNCTION__;
  name = name.substr(name.find(kBefore) + kBefore.size());
  name = name.substr(0, name.find_first_of(";]"));
  return name.front() == '(' ? std::string_view{} : name.substr(name.rfind(':') + 1);
}

/// Prints an enumerator by its name, or as a number if the value has no enumerator or is above 31.
template <ScopedEnum E>
void print_enum(std::ostream& stream, E value) {
  const auto number = static_cast<std::underlying_type_t<E>>(value);
  const std::string_view name = [&]<int... numbers>(std::integer_sequence<int, numbers...>) {
    std::string_view found;
    static_cast<void>(((number == numbers && (found = enumerator<static_cast<E>(numbers)>(), true)) || ...));
    return found;
  }
  (std::make_integer_sequence<int, 32>{});
  if (name.empty()) {
    stream << static_cast<long long>(number);
  } else {
    stream << name;
  }
}

}  // namespace hashevict::test

namespace hashevict {

/// GoogleTest finds it next to the type, so parameters and failures name the enumerator.
template <test::ScopedEnum E>
std::ostream& operator<<(std::ostream& stream, E value) {
  test::print_enum(stream, value);
  return stream;
}

// Enumerations of these namespaces find it, too.
namespace core {
using hashevict::operator<<;
}
namespace test {
using hashevict::operator<<;
}

}  // namespace hashevict
