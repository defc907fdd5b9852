// SPDX-License-Identifier: Apache-2.0
#include "eval/text.hpp"

#include <gtest/gtest.h>

namespace hashevict::eval {
namespace {

TEST(Text, PrintableReplacesWhatIsNotAscii) {
  EXPECT_EQ(printable("a\n\x01\xc3~"), "a\n··~");
}

TEST(Text, HtmlEscapesMarkup) {
  EXPECT_EQ(escape_html("<a b=\"&\">"), "&lt;a b=&quot;&amp;&quot;&gt;");
}

TEST(Text, OneLineShowsNewlines) {
  EXPECT_EQ(one_line("a\nb"), "a⏎b");
}

}  // namespace
}  // namespace hashevict::eval
