// SPDX-License-Identifier: Apache-2.0
#include "result_file.hpp"

#include <fstream>
#include <hashevict/status.hpp>
#include <iterator>
#include <sstream>
#include <system_error>

#include "engine/file_mapping.hpp"
#include "engine/json_object.hpp"

namespace hashevict::lab {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 3;  // a result has plain values and at most one list

[[noreturn]] void refuse_to_write(const std::filesystem::path& path, const std::string& reason = "") {
  throw Error(Status::invalid_argument, "cannot write '" + path.string() + "'" + reason);
}

}  // namespace

std::string result_key(const json& line) {
  json key = json::array();
  for (const char* field : {"mode", "what", "seed", "index", "policy", "budget"}) key.push_back(line.at(field));
  return key.dump();
}

ResultFile::ResultFile(std::filesystem::path path, std::string settings)
    : path_(std::move(path)), settings_(std::move(settings)) {
  std::string content;
  if (std::ifstream stream(path_, std::ios::binary); stream) {
    content.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  } else if (engine::is_there(path_)) {
    throw Error(Status::invalid_argument, "cannot read '" + path_.string() + "'");  // it may hold results
  }
  // An interrupted run may have left part of a line, to which the next line would be appended: removes it.
  const size_t complete = content.rfind('\n') + 1;
  if (complete == 0 && settings_.starts_with(content)) {
    create();
    return;
  }
  read(content.substr(0, complete));
  std::error_code error;
  if (complete < content.size()) std::filesystem::resize_file(path_, complete, error);
  if (error) refuse_to_write(path_, ": " + error.message());
}

void ResultFile::create() const {
  std::ofstream stream(path_);
  stream << settings_ << '\n';
  stream.close();
  if (!stream) refuse_to_write(path_);
}

void ResultFile::read(const std::string& content) {
  std::istringstream stream(content);
  std::string line;
  std::getline(stream, line);
  if (line != settings_) {
    throw Error(Status::invalid_argument, "'" + path_.string() +
                                              "' holds results of another model, text, seed set or length; remove it, "
                                              "or choose another folder");
  }
  while (std::getline(stream, line)) {
    try {
      keys_.insert(result_key(engine::parse_json_object(line, "'" + path_.string() + "'", kMaxDepth)));
    } catch (const json::exception& error) {
      throw Error(Status::invalid_data, "'" + path_.string() + "': " + error.what());
    }
  }
}

bool ResultFile::has(const json& line) const {
  return keys_.contains(result_key(line));
}

void ResultFile::add(const std::vector<json>& lines) {
  std::ofstream stream(path_, std::ios::app);
  for (const json& line : lines) stream << line.dump() << '\n';
  stream.close();
  if (!stream) refuse_to_write(path_);
  for (const json& line : lines) keys_.insert(result_key(line));
}

}  // namespace hashevict::lab
