// SPDX-License-Identifier: Apache-2.0
#include "safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>

#include "file_mapping.hpp"
#include "foreign_file.hpp"
#include "json_object.hpp"

namespace hashevict::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is read in place");

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as in the format's reference implementation
constexpr int kMaxDepth = 4;                            // header, tensor, array, and one to spare

constexpr std::array kTypes = {ElementType::f32, ElementType::f16, ElementType::bf16,
                               ElementType::i32, ElementType::i64, ElementType::u8};

// Types of the format that are not read here. Their sizes are checked too.
struct OtherType {
  std::string_view name;
  std::uint64_t bits;
};
constexpr OtherType kOtherTypes[] = {{"BOOL", 8},    {"I8", 8},          {"F8_E5M2", 8},     {"F8_E4M3", 8},
                                     {"F8_E8M0", 8}, {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8}, {"I16", 16},
                                     {"U16", 16},    {"U32", 32},        {"U64", 64},        {"F64", 64},
                                     {"C64", 64},    {"F4", 4},          {"F6_E2M3", 6},     {"F6_E3M2", 6}};

[[noreturn]] void fail(const std::string& source, const std::string& message) {
  throw Error{Status::invalid_data, source + ": " + message};
}

[[noreturn]] void fail(const std::string& source, const std::string& tensor, const std::string& message) {
  fail(source, "tensor " + quote(tensor) + ": " + message);
}

// Reads an unsigned integer of JSON exactly.
std::uint64_t unsigned_number(const std::string& source, const std::string& name, const json& value) {
  constexpr auto kLargest = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kLargest) {
    fail(source, name, quote(value) + " where a size below 2^63 was expected");
  }
  return value.get<std::uint64_t>();
}

const json& member(const std::string& source, const std::string& name, const json& entry, const char* key) {
  if (!entry.is_object() || !entry.contains(key)) fail(source, name, std::string("has no ") + key);
  return entry.at(key);
}

void parse_type(const std::string& source, const json& value, StoredTensor& tensor) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
    fail(source, tensor.name, "dtype " + quote(value) + " is not the name of a type");
  }
  const auto& type_name = value.get_ref<const std::string&>();
  const auto* known =
      std::find_if(kTypes.begin(), kTypes.end(), [&](ElementType type) { return element_name(type) == type_name; });
  tensor.type = known == kTypes.end() ? ElementType::other : *known;
  if (tensor.type != ElementType::other) return;
  const std::string shown = quote(value);  // in messages: one line of ASCII
  tensor.other_type = shown.substr(1, shown.size() - 2);
}

// Bits of an element; nothing for an unknown type.
std::optional<std::uint64_t> element_bits(const StoredTensor& tensor) {
  if (tensor.type != ElementType::other) return 8 * element_bytes(tensor.type);
  for (const OtherType& type : kOtherTypes) {
    if (type.name == tensor.other_type) return type.bits;
  }
  return std::nullopt;
}

// Computes the product of a shape and refuses an overflow.
std::uint64_t shape_elements(const std::string& source, const StoredTensor& tensor) {
  std::uint64_t elements = 1;
  const bool empty = std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
  if (empty) return 0;
  for (const std::int64_t extent : tensor.shape) {
    constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max() / 64;  // as bits
    if (elements > kLargest / static_cast<std::uint64_t>(extent)) fail(source, tensor.name, "its shape overflows");
    elements *= static_cast<std::uint64_t>(extent);
  }
  return elements;
}

// Requires the span of the offsets to equal the shape's bytes, if the size of an element is known.
void check_size(const std::string& source, const StoredTensor& tensor, std::uint64_t spanned) {
  const std::uint64_t elements = shape_elements(source, tensor);
  const std::optional<std::uint64_t> element = element_bits(tensor);
  if (!element && elements > 0) return;
  const std::uint64_t bits = elements * element.value_or(0);
  if (bits % 8 != 0) fail(source, tensor.name, "its shape takes no whole number of bytes");
  if (spanned != bits / 8) {
    fail(source, tensor.name,
         "data_offsets span " + std::to_string(spanned) + " bytes, its shape takes " + std::to_string(bits / 8));
  }
}

StoredTensor parse_entry(const std::string& source, const std::string& name, const json& entry,
                         std::span<const std::byte> data) {
  StoredTensor tensor;
  tensor.name = name;
  parse_type(source, member(source, name, entry, "dtype"), tensor);
  const json& shape = member(source, name, entry, "shape");
  if (!shape.is_array()) fail(source, name, "shape is not an array");
  for (const json& extent : shape) {
    tensor.shape.push_back(static_cast<std::int64_t>(unsigned_number(source, name, extent)));
  }
  const json& offsets = member(source, name, entry, "data_offsets");
  if (!offsets.is_array() || offsets.size() != 2) fail(source, name, "data_offsets is not a pair");
  const std::uint64_t begin = unsigned_number(source, name, offsets[0]);
  const std::uint64_t end = unsigned_number(source, name, offsets[1]);
  if (begin > end || end > data.size()) {
    fail(source, name,
         "data_offsets " + quote(offsets) + " leave the file's " + std::to_string(data.size()) +
             " bytes of data; the file is cut off or damaged");
  }
  check_size(source, tensor, end - begin);
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

void check_metadata(const std::string& source, const json& entry) {
  if (!entry.is_object()) fail(source, "__metadata__ is not a JSON object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) fail(source, "__metadata__ " + quote(key) + " is not a string");
  }
}

// Returns the first words of text where the header should begin, which servers send in place of a file.
std::string first_words(std::string_view content) {
  constexpr std::size_t kShown = 40;
  content = content.substr(0, kShown);
  const bool is_text = std::all_of(content.begin(), content.end(), [](char c) {
    return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t';
  });
  return is_text ? quote(std::string(content)) : std::string();
}

// Recognises other kinds of files before their first bytes are read as a length.
void require_header(const std::string& source, std::span<const std::byte> memory) {
  const std::string_view content(reinterpret_cast<const char*>(memory.data()), memory.size());
  if (content.size() > kLengthBytes && content[kLengthBytes] == '{') return;
  if (content.empty()) fail(source, "is empty; expected a safetensors file");
  if (const std::string kind = foreign_kind(content); !kind.empty()) fail(source, kind);
  if (const std::string words = first_words(content); !words.empty()) {
    fail(source, "is text that begins with " + words + "; expected a safetensors file");
  }
  if (content.size() < kLengthBytes) fail(source, "is too short for a safetensors file");
}

}  // namespace

Safetensors Safetensors::open(const std::filesystem::path& path) {
  const auto mapping = std::make_shared<const FileMapping>(path);
  Safetensors file;
  file.source_ = path.string();
  file.mapping_ = mapping;
  file.read(mapping->bytes());
  return file;
}

Safetensors Safetensors::parse(std::span<const std::byte> memory, std::string source) {
  Safetensors file;
  file.source_ = std::move(source);
  file.read(memory);
  return file;
}

void Safetensors::read(std::span<const std::byte> memory) {
  require_header(source_, memory);
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, memory.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > memory.size() - kLengthBytes) {
    fail(source_, "header length " + std::to_string(header_bytes) + " exceeds the file's " +
                      std::to_string(memory.size()) + " bytes or the limit of " + std::to_string(kMaxHeaderBytes) +
                      "; the file is cut off, damaged, or no safetensors file");
  }
  const auto* text = reinterpret_cast<const char*>(memory.data() + kLengthBytes);
  const json header = parse_json_object({text, header_bytes}, source_, kMaxDepth, "header ");
  const std::span<const std::byte> data = memory.subspan(kLengthBytes + header_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      check_metadata(source_, entry);
    } else {
      tensors_.emplace(name, parse_entry(source_, name, entry, data));
    }
  }
  check_coverage(data);
  align();
}

// Requires the tensors to cover the data exactly once.
void Safetensors::check_coverage(std::span<const std::byte> data) const {
  std::vector<const StoredTensor*> order;
  for (const auto& entry : tensors_) {
    if (!entry.second.bytes.empty()) order.push_back(&entry.second);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->bytes.data() < b->bytes.data(); });
  const std::byte* end = data.data();
  for (const StoredTensor* tensor : order) {
    if (tensor->bytes.data() < end) fail(source_, tensor->name, "its data overlaps another tensor's");
    if (tensor->bytes.data() > end) fail(source_, tensor->name, "its data follows a gap");
    end = tensor->bytes.data() + tensor->bytes.size();
  }
  if (end != data.data() + data.size()) fail(source_, "bytes follow the data of the last tensor");
}

// The format guarantees no alignment, which readers of the elements need.
void Safetensors::align() {
  for (auto& entry : tensors_) {
    StoredTensor& tensor = entry.second;
    if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % element_bytes(tensor.type) == 0) continue;
    auto& copy = aligned_copies_.emplace_back((tensor.bytes.size() + 7) / 8);
    std::memcpy(copy.data(), tensor.bytes.data(), tensor.bytes.size());
    tensor.bytes = std::as_bytes(std::span(copy)).first(tensor.bytes.size());
  }
}

TensorTable Safetensors::table() const {
  TensorTable table;
  for (const auto& [name, tensor] : tensors_) table.emplace(name, &tensor);
  return table;
}

const StoredTensor* Safetensors::find(std::string_view name) const {
  const auto entry = tensors_.find(name);
  return entry == tensors_.end() ? nullptr : &entry->second;
}

const StoredTensor& Safetensors::at(std::string_view name) const {
  const StoredTensor* tensor = find(name);
  if (tensor == nullptr) fail(source_, "has no tensor " + quote(std::string(name)));
  return *tensor;
}

}  // namespace hashevict::engine
