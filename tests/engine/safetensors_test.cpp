// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "refusal.hpp"
#include "safetensors_bytes.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Safetensors, WrittenFileReadsBack) {
  const TemporaryFolder folder;
  const std::vector<float> floats = {1.5F, -2.0F, 3.0F, 0.0F, 5.0F, 6.0F};
  const std::vector<std::int32_t> integers = {-7, 8};
  const std::vector<std::uint8_t> bytes = {1, 2, 255};
  const std::vector<std::int64_t> wide = {-9};
  const std::vector<std::uint16_t> halves = {0x3c00, 0xbf80};
  SafetensorsWriter writer;
  writer.add("bytes", {3}, bytes);
  writer.add("floats", {2, 3}, floats);
  writer.add("integers", {2, 1}, integers);
  writer.add("wide", ElementType::i64, {}, std::as_bytes(std::span(wide)));
  writer.add("half", ElementType::f16, {1}, std::as_bytes(std::span(halves)).first(2));
  writer.add("brain", ElementType::bf16, {1}, std::as_bytes(std::span(halves)).last(2));
  writer.add("nothing", {0, 4}, std::span<const float>());
  writer.write(folder.path() / "x.safetensors");

  const Safetensors file = Safetensors::open(folder.path() / "x.safetensors");
  EXPECT_EQ(file.tensors().size(), 7U);
  EXPECT_THAT(file.at("floats").shape, ElementsAre(2, 3));
  EXPECT_THAT(file.at("floats").f32(), testing::ElementsAreArray(floats));
  EXPECT_THAT(file.at("integers").i32(), ElementsAre(-7, 8));
  EXPECT_THAT(file.at("bytes").u8(), ElementsAre(1, 2, 255));
  EXPECT_EQ(file.at("wide").num_elements(), 1);
  EXPECT_EQ(std::memcmp(file.at("wide").bytes.data(), wide.data(), 8), 0);
  EXPECT_THAT(file.at("half").to_floats(), ElementsAre(1.0F));
  EXPECT_THAT(file.at("brain").to_floats(), ElementsAre(-1.0F));
  EXPECT_EQ(file.at("nothing").num_elements(), 0);
  EXPECT_EQ(file.find("missing"), nullptr);
}

TEST(Safetensors, WriterReplacesFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  const auto path = folder.write("x.safetensors", "old content");
  const std::vector<float> value = {4.0F};
  SafetensorsWriter writer;
  writer.add("value", {1}, value);
  writer.write(path);
  EXPECT_THAT(Safetensors::open(path).at("value").f32(), ElementsAre(4.0F));
  EXPECT_EQ(folder.files().size(), 1U);
}

TEST(Safetensors, FailedWriteLeavesNothing) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder.path() / "taken");
  EXPECT_THROW(SafetensorsWriter().write(folder.path() / "missing" / "x.safetensors"), Error);
  EXPECT_THROW(SafetensorsWriter().write(folder.path() / "taken"), Error);  // a folder cannot be replaced
  EXPECT_EQ(folder.files().size(), 1U);
}

TEST(Safetensors, WriterRefusesContradictions) {
  const std::vector<float> values(6);
  SafetensorsWriter writer;
  writer.add("a", {2, 3}, values);
  EXPECT_THROW(writer.add("a", {2, 3}, values), Error);
  EXPECT_THROW(writer.add("b", {2, 4}, values), Error);
  EXPECT_THROW(writer.add("b", {-2, -3}, values), Error);
  EXPECT_THROW(writer.add("b", {std::int64_t{1} << 62, 4}, values), Error);
}

TEST(Safetensors, MisalignedTensorsComeAligned) {
  const std::string header =
      R"({"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"f":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}})";
  std::string data(9, '\x07');
  const std::vector<float> values = {0.5F, -8.0F};
  std::memcpy(data.data() + 1, values.data(), 8);
  for (const std::size_t padding : {0U, 1U, 2U, 3U}) {
    const std::string file = file_of(header + std::string(padding, ' '), data);
    const Safetensors parsed = parse(file);
    const std::span<const float> floats = parsed.at("f").f32();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(floats.data()) % alignof(float), 0U);
    EXPECT_THAT(floats, testing::ElementsAreArray(values));
  }
}

TEST(Safetensors, TensorBecomesTensorOfTheLibrary) {
  const std::vector<float> values(24);
  SafetensorsWriter writer;
  writer.add("x", {2, 3, 4}, values);
  const TemporaryFolder folder;
  writer.write(folder.path() / "x");
  const Safetensors file = Safetensors::open(folder.path() / "x");
  const hashevict::Tensor tensor = file.at("x").as_tensor();
  EXPECT_EQ(tensor.data, file.at("x").bytes.data());
  EXPECT_EQ(tensor.element_type(), DType::float32);
  EXPECT_THAT(std::vector<std::int64_t>(tensor.shape, tensor.shape + tensor.rank), ElementsAre(2, 3, 4));
  EXPECT_THAT(std::vector<std::int64_t>(tensor.stride, tensor.stride + tensor.rank), ElementsAre(12, 4, 1));
}

TEST(Safetensors, WrongElementTypeIsRefused) {
  const std::string file = file_of(R"({"x":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", std::string(8, '\0'));
  const Safetensors parsed = parse(file);
  EXPECT_THROW(parsed.at("x").f32(), Error);
  EXPECT_THROW(parsed.at("x").to_floats(), Error);
  EXPECT_THROW(parsed.at("x").as_tensor(), Error);
  EXPECT_THROW(parsed.at("y"), Error);
}

TEST(Safetensors, TensorsOfForeignTypesAreListedButNotRead) {
  const std::string file = file_of(R"({"f":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
                                   R"("e":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[12,12]},)"
                                   R"("s":{"dtype":"F8_E8M0","shape":[2,2],"data_offsets":[0,4]},)"
                                   R"("h":{"dtype":"F4","shape":[4],"data_offsets":[4,6]},)"
                                   R"("n":{"dtype":"OF_TOMORROW","shape":[5],"data_offsets":[6,8]}})",
                                   std::string(12, '\0'));
  const Safetensors parsed = parse(file);
  EXPECT_THAT(parsed.at("f").f32(), ElementsAre(0.0F));
  EXPECT_EQ(parsed.at("e").num_elements(), 0);
  EXPECT_EQ(parsed.at("s").num_elements(), 4);
  EXPECT_EQ(parsed.at("n").type_name(), "OF_TOMORROW");
  for (const char* name : {"e", "s", "h", "n"}) {
    EXPECT_EQ(parsed.at(name).type, ElementType::other);
    EXPECT_THROW(parsed.at(name).f32(), Error);
    EXPECT_THROW(parsed.at(name).to_floats(), Error);
    EXPECT_THROW(parsed.at(name).as_tensor(), Error);
  }
}

TEST(Safetensors, HalvesWidenExactly) {
  const std::vector<std::uint16_t> halves = {0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x7bff, 0x7c00, 0xfc00, 0x7e00};
  StoredTensor tensor{"h", ElementType::f16, {9}, std::as_bytes(std::span(halves))};
  const std::vector<float> wide = tensor.to_floats();
  EXPECT_EQ(wide[0], 0.0F);
  EXPECT_TRUE(std::signbit(wide[1]));
  EXPECT_EQ(wide[2], 0x1p-24F);
  EXPECT_EQ(wide[3], -1023 * 0x1p-24F);
  EXPECT_EQ(wide[4], 0x1p-14F);
  EXPECT_EQ(wide[5], 65504.0F);
  EXPECT_EQ(wide[6], std::numeric_limits<float>::infinity());
  EXPECT_EQ(wide[7], -std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(wide[8]));
}

TEST(Safetensors, FileThatIsNoneIsNamed) {
  const TemporaryFolder folder;
  for (const std::filesystem::path& path : {folder.path() / "missing", folder.path()}) {
    EXPECT_THAT(refusal([&] { Safetensors::open(path); }), HasSubstr(path.string()));
  }
}

}  // namespace
}  // namespace hashevict::engine
