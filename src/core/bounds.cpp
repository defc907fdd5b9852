// SPDX-License-Identifier: Apache-2.0
#include "core/bounds.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/failure.hpp"

namespace hashevict::core {
namespace {

/// Formats choices as "A (0), B (1) or C (2)".
std::string text_of(std::initializer_list<Choice> choices) {
  std::string text;
  std::size_t left = choices.size();
  for (const Choice& choice : choices) {
    text += std::string{choice.name} + " (" + std::to_string(choice.value) + ')';
    if (--left > 0) text += left == 1 ? " or " : ", ";
  }
  return text;
}

}  // namespace

std::string text_of(const Field& field) {
  std::string text{field.owner};
  if (field.owner_index != Field::kNoIndex) text += '[' + std::to_string(field.owner_index) + ']';
  if (!text.empty() && field.name[0] != '\0') text += '.';
  text += field.name;
  for (const int64_t index : {field.index, field.second_index}) {
    if (index != Field::kNoIndex) text += '[' + std::to_string(index) + ']';
  }
  return text;
}

void require_in_range(const Field& field, int64_t value, int64_t low, int64_t high, const char* why) {
  if (value >= low && value <= high) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected {} to {}{}", text_of(field), value, low, high, why);
}

void require_at_least(const Field& field, uint64_t value, uint64_t low) {
  if (value >= low) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected at least {}", text_of(field), value, low);
}

void require_zero_or_in_range(const Field& field, int64_t value, int64_t low, int64_t high, const char* why) {
  if (value == 0 || (value >= low && value <= high)) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected 0, or {} to {}{}", text_of(field), value, low, high, why);
}

void require_multiple(const Field& field, int64_t value, int64_t step, int64_t low, int64_t high, const char* why) {
  if (value >= low && value <= high && value % step == 0) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected a multiple of {} from {} to {}{}", text_of(field), value, step,
       low, high, why);
}

void require_equal(const Field& field, int64_t value, int64_t expected, const char* why) {
  if (value == expected) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected {}{}", text_of(field), value, expected, why);
}

void require_one_of(const Field& field, int64_t value, std::initializer_list<Choice> choices) {
  if (std::any_of(choices.begin(), choices.end(), [=](const Choice& choice) { return choice.value == value; })) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected {}", text_of(field), value, text_of(choices));
}

void require_zero_or_positive(const Field& field, float value, const char* zero) {
  if (std::isfinite(value) && value >= 0.0F) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected a positive finite number, or 0 for {}", text_of(field), value,
       zero);
}

void require_fraction(const Field& field, float value) {
  if (value <= 1.0F) return;  // false for NaN
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected a fraction up to 1, or a negative number to leave it unused",
       text_of(field), value);
}

void require_finite(const Field& field, float value) {
  if (std::isfinite(value)) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected a finite number", text_of(field), value);
}

void require_aligned(const Field& field, const void* pointer, uint64_t alignment) {
  if (reinterpret_cast<uintptr_t>(pointer) % alignment == 0) return;
  fail(HASHEVICT_INVALID_ARGUMENT, "{} = {}: expected a multiple of {}", text_of(field), pointer, alignment);
}

}  // namespace hashevict::core
