// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace hashevict::test {

/// One element of a page.
struct XmlElement {
  std::string name;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string text;  ///< all characters below it

  /// The attribute's value; empty if there is none.
  std::string attribute(std::string_view key) const;
};

/// All elements of a document, in the order they end. Stricter than HTML: every tag is closed, every attribute quoted,
/// every `&` one of XML's five entities. @throws std::runtime_error saying where it is not so
std::vector<XmlElement> parse_xml(std::string_view document);

}  // namespace hashevict::test
