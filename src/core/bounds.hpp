// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

/// Checks of numbers in arguments. A function that finds its bound violated fails with INVALID_ARGUMENT and states the
/// bound, so the message always agrees with the check.
namespace hashevict::core {

/// The name of a number: `owner[owner_index].name[index][second_index]`. It owns no memory, so a check that passes
/// allocates nothing.
struct Field {
  static constexpr int64_t kNoIndex = -1;
  const char* owner;  ///< "" if the number is itself an argument
  const char* name;
  int64_t index = kNoIndex;
  int64_t owner_index = kNoIndex;
  int64_t second_index = kNoIndex;
};

std::string text_of(const Field& field);

/// A value of an enumeration, with its name.
struct Choice {
  const char* name;
  int64_t value;
};

/// Requires `low` to `high`. `why` may give the origin of a bound, as ", since ...".
void require_in_range(const Field& field, int64_t value, int64_t low, int64_t high, const char* why = "");
/// Requires at least `low`: for sizes of memory, which have no upper bound of their own.
void require_at_least(const Field& field, uint64_t value, uint64_t low);
/// Requires 0, or `low` to `high`.
void require_zero_or_in_range(const Field& field, int64_t value, int64_t low, int64_t high, const char* why = "");
/// Requires a multiple of `step` from `low` to `high`; both are multiples themselves.
void require_multiple(const Field& field, int64_t value, int64_t step, int64_t low, int64_t high, const char* why = "");
void require_equal(const Field& field, int64_t value, int64_t expected, const char* why = "");
void require_one_of(const Field& field, int64_t value, std::initializer_list<Choice> choices);
/// Requires a positive finite number or 0, which means `zero`.
void require_zero_or_positive(const Field& field, float value, const char* zero);
/// Requires a number up to 1; it may be negative.
void require_fraction(const Field& field, float value);
void require_finite(const Field& field, float value);
/// Requires that all words without a meaning in this version are 0.
template <class Word, std::size_t kCount>
void require_reserved(Field field, const Word (&words)[kCount]) {
  for (std::size_t i = 0; i < kCount; ++i) {
    field.index = static_cast<int64_t>(i);
    require_equal(field, static_cast<int64_t>(words[i]), 0, ", since this version has no field there");
  }
}
void require_aligned(const Field& field, const void* pointer, uint64_t alignment);

}  // namespace hashevict::core
