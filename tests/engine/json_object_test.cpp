// SPDX-License-Identifier: Apache-2.0
#include "engine/json_object.hpp"

#include <string>
#include <utility>

#include "engine/foreign_file.hpp"
#include "refusal.hpp"

namespace hashevict::engine {
namespace {

using testing::HasSubstr;

constexpr int kMaxDepth = 3;

void expect_refused(const std::string& text, const std::string& expected) {
  EXPECT_THAT(refusal([&] { parse_json_object(text, "file.json", kMaxDepth); }),
              testing::AllOf(HasSubstr("file.json: "), HasSubstr(expected), Not(HasSubstr("\n"))));
}

TEST(JsonObject, ObjectIsParsed) {
  const nlohmann::json object = parse_json_object(" {\"a\": [1, {\"b\": 2.5}]}\n", "file.json", kMaxDepth);
  EXPECT_EQ(object["a"][1]["b"], 2.5);
}

TEST(JsonObject, NameGivenTwiceIsRefused) {
  expect_refused(R"({"a": 1, "b": 2, "a": 1})", "names \"a\" twice");
  expect_refused(R"({"a": {"b": 1, "b": 2}})", "names \"b\" twice");
  EXPECT_NO_THROW(parse_json_object(R"({"a": {"b": 1}, "c": {"b": 1}})", "file.json", kMaxDepth));
}

TEST(JsonObject, NumbersThatAreNoneAreRefused) {
  for (const char* number : {"NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10"}) {
    expect_refused("{\"a\": " + std::string(number) + "}", "is not valid JSON at byte");
  }
  expect_refused("{\"a\": 1e400}", "number out of range");
}

TEST(JsonObject, WhatSurroundsTheObjectIsRefused) {
  for (const std::string& text : {std::string(R"({"a": 1} x)"), std::string("{}{}"), std::string("{},"),
                                  std::string("// why\n{}"), std::string("{\"a\": 1,}"), std::string("{'a': 1}")}) {
    expect_refused(text, "is not valid JSON at byte");
  }
  expect_refused("\xef\xbb\xbf{}", "byte-order mark");
  expect_refused(std::string("{}\0{}", 5), "byte 3 is NUL");
  expect_refused("[1]", "is not a JSON object");
}

TEST(JsonObject, TextThatIsNoUtf8IsRefused) {
  expect_refused("{\"a\": \"\xff\"}", "is not valid JSON");
  expect_refused("{\"\xc3\": 1}", "is not valid JSON");
  expect_refused(R"({"a": "\ud800"})", "is not valid JSON");
}

TEST(JsonObject, DeepNestingIsRefused) {
  expect_refused(R"({"a": [[[[1]]]]})", "nested too deeply");
  expect_refused("{\"a\": " + std::string(100000, '[') + std::string(100000, ']') + "}", "nested too deeply");
}

TEST(JsonObject, OtherFileIsCalledByItsName) {
  expect_refused("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
                 "is a git-lfs pointer, not the file itself; run `git lfs pull`");
  expect_refused("\n<!DOCTYPE html>\n<html>", "is a web page");
}

TEST(ForeignFile, KindsAreRecognised) {
  const std::pair<std::string, const char*> files[] = {{"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"},
                                                       {"/annex/objects/SHA256E-s1--0.safetensors\n", "git annex get"},
                                                       {"  <HTML><body>", "web page"},
                                                       {"<?xml version=\"1.0\"?><Error>", "web page"},
                                                       {"PK\x03\x04\x14", "zip archive"},
                                                       {"\x80\x02}q", "pickle"},
                                                       {"GGUF\x03", "GGUF"},
                                                       {"\x89HDF\r\n", "HDF5"},
                                                       {"\x1f\x8b\x08", "gzip"}};
  for (const auto& [content, kind] : files) EXPECT_THAT(foreign_kind(content), HasSubstr(kind));
  for (const char* content : {"", "{}", "version 2", "<", "text"}) EXPECT_EQ(foreign_kind(content), "") << content;
}

const std::string kPointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

TEST(NotAText, WhatIsCertainlyNoneIsNamed) {
  const std::pair<std::string, std::string> files[] = {
      {kPointer, "is a git-lfs pointer"},
      {"/annex/objects/MD5E-s4--0a.txt\n", "is a git-annex pointer"},
      {"../.git/annex/objects/aa/bb/MD5E-s4--0a.txt", "is a git-annex pointer"},
      {std::string("PK\x03\x04\x14\0", 6), "is a zip archive; expected a text"},
      {"\x80\x04\x95 pickled", "is a Python pickle"},
      {"\x1f\x8b\x08 compressed", "is compressed with gzip; expected a text"},
      {"\x28\xb5\x2f\xfd compressed", "is compressed with zstd"},
      {std::string("GGUF\x03\0\0\0\x01", 9), "is a GGUF file"},
      {"%PDF-1.7\n", "is a PDF document"},
      {std::string("\x40\0\0\0\0\0\0\0{\"a\":", 13), "is a safetensors file"},
  };
  for (const auto& [content, kind] : files) EXPECT_THAT(not_a_text(content), HasSubstr(kind)) << content;
}

TEST(NotAText, TextsAboutSuchFilesAreTaken) {
  const std::string texts[] = {
      "",
      "PK",
      "PK is short for Phil Katz",
      "GGUF is the format of llama.cpp",
      "GGUF",
      "%PDF-1.4 is how a document of that kind begins",
      "<!DOCTYPE html><html>a page may be what is to be continued</html>",
      "version https://git-lfs.github.com/spec/v1 is the first line of a pointer.\n",
      kPointer + std::string(1000, 'x'),
      "/annex/objects/ is where git-annex keeps what was added.\nMore of it follows.\n",
      "12345678{\"a\": 1}",
  };
  for (const std::string& text : texts) EXPECT_EQ(not_a_text(text), "") << text;
}

}  // namespace
}  // namespace hashevict::engine
