// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/status.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace hashevict::engine {

/// Reads fields of one JSON object. Its errors name the file and the field. `null` means absent.
class Fields {
 public:
  /// @param object outlives this. @param source stands in messages for the file's name
  Fields(const nlohmann::json& object, std::string source) : object_(object), source_(std::move(source)) {}

  const std::string& source() const { return source_; }
  const nlohmann::json& object() const { return object_; }

  /// Returns NULL if the field is missing or null.
  const nlohmann::json* find(const std::string& key) const;

  [[noreturn]] void refuse(Status status, const std::string& key, const std::string& expected) const;
  /// Refuses a field that this program cannot honour.
  [[noreturn]] void refuse_unknown(const std::string& key) const;

  std::int32_t positive(const char* key, std::optional<std::int32_t> absent = std::nullopt) const;
  float positive_number(const char* key, std::optional<float> absent = std::nullopt) const;
  bool flag(const char* key, bool absent) const;
  std::string text(const char* key, const char* absent) const;

  /// Reads one token id, several, or none. Omits -1, by which older files mean none, and ids beyond the vocabulary,
  /// which can never be chosen.
  std::vector<std::int32_t> tokens(const char* key, std::int32_t vocab_size) const;

 private:
  std::string found(const std::string& key) const;

  const nlohmann::json& object_;
  std::string source_;
};

}  // namespace hashevict::engine
