// SPDX-License-Identifier: Apache-2.0
#include "xml.hpp"

#include <algorithm>
#include <stdexcept>

namespace hashevict::test {
namespace {

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == ':';
}

class Parser {
 public:
  explicit Parser(std::string_view document) : rest_(document), size_(document.size()) {}

  std::vector<XmlElement> parse() {
    if (rest_.starts_with("<!DOCTYPE html>")) rest_.remove_prefix(15);
    while (!rest_.empty()) {
      if (rest_.starts_with("</")) {
        close();
      } else if (rest_.front() == '<') {
        open();
      } else {
        character();
      }
    }
    require(open_.empty(), "an element is not closed");
    return std::move(done_);
  }

 private:
  void require(bool condition, const std::string& message) const {
    if (!condition) throw std::runtime_error(message + " at byte " + std::to_string(size_ - rest_.size()));
  }

  void skip(std::string_view expected) {
    require(rest_.starts_with(expected), "expected '" + std::string(expected) + "'");
    rest_.remove_prefix(expected.size());
  }

  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) rest_.remove_prefix(1);
  }

  std::string name() {
    std::string result;
    while (!rest_.empty() && is_name_character(rest_.front())) {
      result += rest_.front();
      rest_.remove_prefix(1);
    }
    require(!result.empty(), "expected a name");
    return result;
  }

  // One character of text or of an attribute; entities are resolved.
  std::string next_character() {
    constexpr std::pair<std::string_view, std::string_view> kEntities[] = {
        {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}};
    for (const auto& [entity, value] : kEntities) {
      if (!rest_.starts_with(entity)) continue;
      rest_.remove_prefix(entity.size());
      return std::string(value);
    }
    require(rest_.front() != '&', "a bare '&'");
    const auto byte = static_cast<unsigned char>(rest_.front());
    require(byte >= 0x20 || byte == '\n' || byte == '\t', "a control character");
    std::string result(1, rest_.front());
    rest_.remove_prefix(1);
    return result;
  }

  void character() {
    const bool blank = rest_.front() == ' ' || rest_.front() == '\n';
    require(!open_.empty() || blank, "text outside of the root");
    const std::string text = next_character();
    for (XmlElement& element : open_) element.text += text;
  }

  void open() {
    skip("<");
    require(!open_.empty() || done_.empty(), "a second root");
    XmlElement element{name(), {}, {}};
    for (skip_blanks(); !rest_.empty() && is_name_character(rest_.front()); skip_blanks()) attribute(element);
    if (rest_.starts_with("/>")) {
      skip("/>");
      done_.push_back(std::move(element));
      return;
    }
    skip(">");
    open_.push_back(std::move(element));
  }

  void attribute(XmlElement& element) {
    const std::string key = name();
    require(element.attribute(key).empty(), "attribute '" + key + "' is given twice");
    skip("=\"");
    std::string value;
    while (!rest_.empty() && rest_.front() != '"') {
      require(rest_.front() != '<', "a bare '<' in an attribute");
      value += next_character();
    }
    skip("\"");
    element.attributes.emplace_back(key, value);
  }

  void close() {
    skip("</");
    const std::string closed = name();
    require(!open_.empty() && open_.back().name == closed, "'</" + closed + ">' closes nothing");
    skip_blanks();
    skip(">");
    done_.push_back(std::move(open_.back()));
    open_.pop_back();
  }

  std::string_view rest_;
  std::size_t size_;
  std::vector<XmlElement> open_;
  std::vector<XmlElement> done_;
};

}  // namespace

std::string XmlElement::attribute(std::string_view key) const {
  const auto found =
      std::find_if(attributes.begin(), attributes.end(), [&](const auto& pair) { return pair.first == key; });
  return found == attributes.end() ? "" : found->second;
}

std::vector<XmlElement> parse_xml(std::string_view document) {
  return Parser(document).parse();
}

}  // namespace hashevict::test
