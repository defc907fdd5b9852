// SPDX-License-Identifier: Apache-2.0
#include "config_fields.hpp"

#include <cmath>

#include "json_object.hpp"

namespace hashevict::engine {

using nlohmann::json;

const json* Fields::find(const std::string& key) const {
  const auto entry = object_.find(key);
  return entry == object_.end() || entry->is_null() ? nullptr : &*entry;
}

std::string Fields::found(const std::string& key) const {
  const json* value = find(key);
  const std::string name = quote(json(key));  // messages show a file's words as one line of ASCII
  return source_ + ": " + name.substr(1, name.size() - 2) + " is " + (value == nullptr ? "nothing" : quote(*value));
}

void Fields::refuse(Status status, const std::string& key, const std::string& expected) const {
  throw Error{status, found(key) + ", expected " + expected};
}

void Fields::refuse_unknown(const std::string& key) const {
  throw Error{Status::unsupported, found(key) + ", a setting that is not understood by this decoder"};
}

std::int32_t Fields::positive(const char* key, std::optional<std::int32_t> absent) const {
  const json* value = find(key);
  if (value == nullptr && absent) return *absent;
  if (value == nullptr || !value->is_number_unsigned() || value->get<std::uint64_t>() == 0 ||
      value->get<std::uint64_t>() > INT32_MAX) {
    refuse(Status::invalid_data, key, "a positive 32-bit integer");
  }
  return value->get<std::int32_t>();
}

float Fields::positive_number(const char* key, std::optional<float> absent) const {
  const json* value = find(key);
  if (value == nullptr && absent) return *absent;
  const float number = value != nullptr && value->is_number() ? value->get<float>() : 0.0F;
  if (!(number > 0) || !std::isfinite(number)) refuse(Status::invalid_data, key, "a positive number");
  return number;
}

bool Fields::flag(const char* key, bool absent) const {
  const json* value = find(key);
  if (value == nullptr) return absent;
  if (!value->is_boolean()) refuse(Status::invalid_data, key, "true or false");
  return value->get<bool>();
}

std::string Fields::text(const char* key, const char* absent) const {
  const json* value = find(key);
  if (value == nullptr) return absent;
  if (!value->is_string()) refuse(Status::invalid_data, key, "a string");
  return value->get<std::string>();
}

std::vector<std::int32_t> Fields::tokens(const char* key, std::int32_t vocab_size) const {
  const json* value = find(key);
  std::vector<std::int32_t> result;
  if (value == nullptr) return result;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& token : list) {
    if (token == -1) continue;
    if (!token.is_number_unsigned() || token.get<std::uint64_t>() > INT32_MAX) {
      refuse(Status::invalid_data, key, "token ids");
    }
    if (token.get<std::int32_t>() < vocab_size) result.push_back(token.get<std::int32_t>());
  }
  return result;
}

}  // namespace hashevict::engine
