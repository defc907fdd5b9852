// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace hashevict::lab {

/// Results on disk: one line of JSON each, after one with the settings of the measurements. So an interrupted run
/// continues, and results of other settings do not mix with its own.
///
/// The fields of result_key() identify a line's measurement; the others are its result.
class ResultFile {
 public:
  /// Reads existing results. @throws Error for results of other settings, or a file of another kind
  ResultFile(std::filesystem::path path, std::string settings);

  /// Whether a line has the same key.
  bool has(const nlohmann::json& line) const;
  void add(const std::vector<nlohmann::json>& lines);

 private:
  void read(const std::string& content);
  void create() const;

  std::filesystem::path path_;
  std::string settings_;
  std::set<std::string> keys_;
};

/// Returns mode, what, seed, index, policy and budget of a line. @throws nlohmann::json::exception if one is missing
std::string result_key(const nlohmann::json& line);

}  // namespace hashevict::lab
