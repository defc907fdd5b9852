// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "experiment.hpp"

namespace hashevict::eval {
namespace {

using nlohmann::json;

std::string key_of(const Measurement& m) {
  return fmt::format("{} {} {} {} {} {:.6f}", name(m.mode), m.what, m.seed, m.index, m.policy, m.budget);
}

json to_json(const Measurement& m) {
  return {{"mode", name(m.mode)},    {"what", m.what},          {"seed", m.seed},
          {"index", m.index},        {"policy", m.policy},      {"budget", m.budget},
          {"slots", m.sample.slots}, {"score", m.sample.score}, {"lost", m.sample.lost}};
}

Mode parse_mode(const std::string& text) {
  for (const Mode mode : {Mode::streamed, Mode::known, Mode::generated}) {
    if (name(mode) == text) return mode;
  }
  throw Error(Status::invalid_data, "'" + text + "' is not a mode");
}

Measurement from_json(const json& line) {
  Measurement m;
  m.mode = parse_mode(line.at("mode").get<std::string>());
  line.at("what").get_to(m.what);
  line.at("seed").get_to(m.seed);
  line.at("index").get_to(m.index);
  line.at("policy").get_to(m.policy);
  line.at("budget").get_to(m.budget);
  line.at("slots").get_to(m.sample.slots);
  line.at("score").get_to(m.sample.score);
  line.at("lost").get_to(m.sample.lost);
  return m;
}

}  // namespace

ResultFile::ResultFile(std::filesystem::path path, std::string settings)
    : path_(std::move(path)), settings_(std::move(settings)) {
  std::string content;
  if (std::ifstream stream(path_, std::ios::binary); stream) {
    content.assign(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
  }
  // A run that was stopped may have left part of a line. It goes, or else the next line would be written behind it.
  const size_t complete = content.rfind('\n') + 1;
  if (complete == 0 && settings_.starts_with(content)) {
    create();
  } else {
    read(content.substr(0, complete));
    if (complete < content.size()) std::filesystem::resize_file(path_, complete);
  }
  for (const Measurement& m : measurements_) keys_.push_back(key_of(m));
  std::sort(keys_.begin(), keys_.end());
}

void ResultFile::create() const {
  std::ofstream stream(path_);
  stream << settings_ << '\n';
  if (!stream.flush()) throw Error(Status::invalid_argument, "cannot write '" + path_.string() + "'");
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
      measurements_.push_back(from_json(json::parse(line)));
    } catch (const json::exception& error) {
      throw Error(Status::invalid_data, "'" + path_.string() + "': " + error.what());
    }
  }
}

bool ResultFile::has(const Measurement& measurement) const {
  return std::binary_search(keys_.begin(), keys_.end(), key_of(measurement));
}

void ResultFile::add(const std::vector<Measurement>& measurements) {
  std::ofstream stream(path_, std::ios::app);
  for (const Measurement& m : measurements) stream << to_json(m).dump() << '\n';
  if (!stream.flush()) throw Error(Status::invalid_argument, "cannot write '" + path_.string() + "'");
  measurements_.insert(measurements_.end(), measurements.begin(), measurements.end());
}

}  // namespace hashevict::eval
