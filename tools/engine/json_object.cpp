// SPDX-License-Identifier: Apache-2.0
#include "json_object.hpp"

#include <hashevict/status.hpp>
#include <set>
#include <vector>

#include "foreign_file.hpp"

namespace hashevict::engine {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxQuoted = 80;  // of a file's words in a message

// Refuses what the parser accepts: it lets the last of equal names win and does not limit nesting.
class Watch {
 public:
  Watch(std::string prefix, int max_depth) : prefix_(std::move(prefix)), max_depth_(max_depth) {}

  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (depth > max_depth_) fail("is nested too deeply");
    if (event == json::parse_event_t::object_start) names_.emplace_back();
    if (event == json::parse_event_t::object_end) names_.pop_back();
    if (event == json::parse_event_t::key && !names_.back().insert(value.get<std::string>()).second) {
      fail("names " + quote(value) + " twice");
    }
    return true;
  }

  [[noreturn]] void fail(const std::string& message) const { throw Error{Status::invalid_data, prefix_ + message}; }

 private:
  std::string prefix_;
  int max_depth_;
  std::vector<std::set<std::string>> names_;
};

}  // namespace

std::string quote(const json& value) {
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kMaxQuoted) text = text.substr(0, kMaxQuoted) + "...";
  return text;
}

json parse_json_object(std::string_view text, const std::string& source, int max_depth, const std::string& subject) {
  Watch watch(source + ": " + subject, max_depth);
  if (const std::string kind = foreign_kind(text); !kind.empty()) watch.fail(kind);
  if (text.starts_with("\xef\xbb\xbf")) watch.fail("is not valid JSON: it begins with a byte-order mark");
  // The parser would stop at a NUL byte.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    watch.fail("is not valid JSON: byte " + std::to_string(nul + 1) + " is NUL");
  }
  try {
    json object = json::parse(text, std::ref(watch));
    if (object.is_object()) return object;
  } catch (const json::parse_error& error) {
    watch.fail("is not valid JSON at byte " + std::to_string(error.byte));
  } catch (const json::out_of_range&) {
    watch.fail("is not valid JSON: it holds a number out of range");
  }
  watch.fail("is not a JSON object");
}

}  // namespace hashevict::engine
