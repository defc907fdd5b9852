// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <random>
#include <string>

#include "refusal.hpp"
#include "safetensors_bytes.hpp"

namespace hashevict::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Malformed {
  const char* name;
  std::string header;
  std::string message;  // part of what the reader says
};

void PrintTo(const Malformed& file, std::ostream* stream) {
  *stream << file.name;
}

void expect_refused(const std::string& file, const std::string& message) {
  EXPECT_THAT(refusal([&] { parse(file); }), AllOf(HasSubstr(message), HasSubstr("memory: "), Not(HasSubstr("\n"))));
}

class MalformedHeader : public testing::TestWithParam<Malformed> {};

TEST_P(MalformedHeader, IsRefusedWithReason) {
  expect_refused(file_of(GetParam().header), GetParam().message);
}

std::string one(const std::string& entry) {
  return R"({"x":{)" + entry + "}}";
}

std::string two(const std::string& first, const std::string& second) {
  return R"({"x":{"dtype":"U8",)" + first + R"(},"y":{"dtype":"U8",)" + second + "}}";
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, MalformedHeader,
    testing::Values(
        Malformed{"Empty", "", "not valid JSON"},  //
        Malformed{"NoJson", "{\"x\":", "not valid JSON"}, Malformed{"Array", "[]", "not a JSON object"},
        Malformed{"BrokenText", "{\"\xff\":1}", "not valid JSON"},
        Malformed{"Deep", "{\"x\":" + std::string(100000, '[') + std::string(100000, ']') + "}", "nested too deeply"},
        Malformed{"NameTwice",
                  R"({"x":{"dtype":"U8","shape":[8],"data_offsets":[0,8]},)"
                  R"("x":{"dtype":"U8","shape":[8],"data_offsets":[8,16]}})",
                  "names \"x\" twice"},
        Malformed{"KeyTwice", one(R"("dtype":"U8","shape":[16],"shape":[16],"data_offsets":[0,16])"), "twice"},
        Malformed{"EntryIsNumber", R"({"x":1})", "has no dtype"},
        Malformed{"NoType", one(R"("shape":[16],"data_offsets":[0,16])"), "has no dtype"},
        Malformed{"ForeignTypeTooLong", one(R"("dtype":"F8_E4M3","shape":[15],"data_offsets":[0,16])"),
                  "its shape takes 15"},
        Malformed{"ForeignTypeTooShort", one(R"("dtype":"C64","shape":[3],"data_offsets":[0,16])"),
                  "its shape takes 24"},
        Malformed{"ForeignTypeOfHalfAByte", one(R"("dtype":"F4","shape":[31],"data_offsets":[0,16])"),
                  "no whole number of bytes"},
        Malformed{"ForeignTypeWraps", one(R"("dtype":"Q7","shape":[4611686018427387905,4],"data_offsets":[0,16])"),
                  "overflows"},
        Malformed{"ForeignTypeBeyondEnd", one(R"("dtype":"Q7","shape":[3],"data_offsets":[0,17])"), "leave the file"},
        Malformed{"TypeIsEmpty", one(R"("dtype":"","shape":[16],"data_offsets":[0,16])"), "dtype \"\""},
        Malformed{"TypeIsNumber", one(R"("dtype":4,"shape":[16],"data_offsets":[0,16])"), "dtype 4"},
        Malformed{"NoShape", one(R"("dtype":"U8","data_offsets":[0,16])"), "has no shape"},
        Malformed{"ShapeIsNumber", one(R"("dtype":"U8","shape":16,"data_offsets":[0,16])"), "shape is not an array"},
        Malformed{"NegativeExtent", one(R"("dtype":"U8","shape":[-16],"data_offsets":[0,16])"), "-16"},
        Malformed{"FractionalExtent", one(R"("dtype":"U8","shape":[16.0],"data_offsets":[0,16])"), "16.0"},
        Malformed{"ExtentTooLarge", one(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,16])"),
                  "below 2^63"},
        Malformed{"ShapeWraps", one(R"("dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16])"),
                  "overflows"},
        Malformed{"NoOffsets", one(R"("dtype":"U8","shape":[16])"), "has no data_offsets"},
        Malformed{"ThreeOffsets", one(R"("dtype":"U8","shape":[16],"data_offsets":[0,8,16])"), "not a pair"},
        Malformed{"OffsetsReversed", one(R"("dtype":"U8","shape":[16],"data_offsets":[16,0])"), "leave the file"},
        Malformed{"OffsetBeyondEnd", one(R"("dtype":"U8","shape":[17],"data_offsets":[0,17])"), "leave the file"},
        Malformed{"OffsetHuge", one(R"("dtype":"U8","shape":[16],"data_offsets":[0,18446744073709551615])"),
                  "below 2^63"},
        Malformed{"OffsetNegative", one(R"("dtype":"U8","shape":[16],"data_offsets":[-1,15])"), "-1"},
        Malformed{"SpanTooShort", one(R"("dtype":"F32","shape":[5],"data_offsets":[0,16])"), "its shape takes 20"},
        Malformed{"SpanTooLong", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,16])"), "its shape takes 12"},
        Malformed{"Overlap", two(R"("shape":[12],"data_offsets":[0,12])", R"("shape":[8],"data_offsets":[8,16])"),
                  "overlaps"},
        Malformed{"SamePlace", two(R"("shape":[16],"data_offsets":[0,16])", R"("shape":[16],"data_offsets":[0,16])"),
                  "overlaps"},
        Malformed{"Gap", two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[8],"data_offsets":[8,16])"), "gap"},
        Malformed{"GapAtBegin", one(R"("dtype":"U8","shape":[8],"data_offsets":[8,16])"), "gap"},
        Malformed{"BytesLeftOver", one(R"("dtype":"U8","shape":[8],"data_offsets":[0,8])"), "follow the data"},
        Malformed{"MetadataIsArray", R"({"__metadata__":[],"x":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})",
                  "__metadata__"},
        Malformed{"MetadataIsNumber",
                  R"({"__metadata__":{"a":1},"x":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})", "not a string"},
        Malformed{"NameWithNewline", "{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,4]}}", "a\\nb"}),
    [](const auto& instance) { return instance.param.name; });

TEST(Safetensors, LyingHeaderLengthIsRefused) {
  for (const std::uint64_t length : {std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{7}}) {
    std::string file = file_of(one(R"("dtype":"U8","shape":[16],"data_offsets":[0,16])"));
    std::memcpy(file.data(), &length, 8);
    expect_refused(file, "header length");
  }
}

TEST(Safetensors, OtherFileIsCalledByItsName) {
  const std::pair<std::string, const char*> files[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs pointer"},
      {"<!DOCTYPE html><html></html>", "web page"},
      {std::string("PK\x03\x04\x00\x00\x00\x00\x00\x00", 10), "zip archive"},
      {std::string("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9", 9), "pickle"},
      {"Entry not found", "is text that begins with \"Entry not found\""},
      {"{\"error\":\"no such model\"}", "is text that begins with"},
      {"", "is empty"}};
  for (const auto& [content, expected] : files) expect_refused(content, expected);
}

TEST(Safetensors, HeaderOfTheLengthOfAMagicNumberIsRead) {
  std::string header = one(R"("dtype":"U8","shape":[16],"data_offsets":[0,16])");
  header.resize(0x0280, ' ');  // begins as a pickle does
  EXPECT_EQ(parse(file_of(header)).tensors().size(), 1U);
}

TEST(Safetensors, NulBehindTheHeadersObjectIsRefused) {
  std::string header = one(R"("dtype":"U8","shape":[16],"data_offsets":[0,16])");
  header.push_back('\0');
  expect_refused(file_of(header), "NUL");
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string file = file_of(one(R"("dtype":"U8","shape":[16],"data_offsets":[0,16])"));
  parse(file);
  for (std::size_t size = 0; size < file.size(); ++size) EXPECT_THROW(parse(file.substr(0, size)), Error) << size;
}

// After any damage, the reader returns tensors within the file or throws an Error.
TEST(Safetensors, DamagedFileNeverReadsOutside) {
  const std::string good =
      file_of(two(R"("shape":[4],"data_offsets":[0,4])", R"("shape":[3,4],"data_offsets":[4,16])"));
  std::mt19937 generator(7);
  int num_refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string file = good;
    for (int i = 0; i < 1 + round % 3; ++i) file[generator() % file.size()] = static_cast<char>(generator() % 256);
    try {
      const Safetensors parsed = parse(file);
      for (const auto& [name, tensor] : parsed.tensors()) {
        for (const std::byte byte : tensor.bytes) EXPECT_LE(std::to_integer<int>(byte), 255);
      }
    } catch (const Error&) {
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 1000);
}

}  // namespace
}  // namespace hashevict::engine
