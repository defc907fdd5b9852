// SPDX-License-Identifier: Apache-2.0
#include "safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "file_mapping.hpp"

namespace hashevict::engine {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian and is read in place");

using nlohmann::json;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as in the format's own implementation
constexpr int kMaxDepth = 4;                            // header, tensor, array, and one to spare
constexpr std::size_t kMaxQuoted = 80;                  // of a file's own words in a message

constexpr std::array kTypes = {ElementType::f32, ElementType::f16, ElementType::bf16,
                               ElementType::i32, ElementType::i64, ElementType::u8};

[[noreturn]] void fail(const std::string& source, const std::string& message) {
  throw Error{Status::invalid_data, source + ": " + message};
}

// A value as a message shows it: one line, of bounded length.
std::string quote(const json& value) {
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kMaxQuoted) text = text.substr(0, kMaxQuoted) + "...";
  return text;
}

[[noreturn]] void fail(const std::string& source, const std::string& tensor, const std::string& message) {
  fail(source, "tensor " + quote(tensor) + ": " + message);
}

// Parses the header. The parser itself would let the last of several equal names win and would nest without limit, so
// both are watched for here.
json parse_header(const std::string& source, std::string_view text) {
  std::vector<std::set<std::string>> names;
  const json::parser_callback_t watch = [&](int depth, json::parse_event_t event, json& value) {
    if (depth > kMaxDepth) fail(source, "header is nested too deeply");
    if (event == json::parse_event_t::object_start) names.emplace_back();
    if (event == json::parse_event_t::object_end) names.pop_back();
    if (event == json::parse_event_t::key && !names.back().insert(value.get<std::string>()).second) {
      fail(source, "header names " + quote(value) + " twice");
    }
    return true;
  };
  try {
    json header = json::parse(text, watch);
    if (header.is_object()) return header;
  } catch (const json::exception&) {
    fail(source, "header is not valid JSON");
  }
  fail(source, "header is not a JSON object");
}

// An unsigned integer of JSON, nothing rounded or wrapped.
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

ElementType parse_type(const std::string& source, const std::string& name, const json& value) {
  for (const ElementType type : kTypes) {
    if (value.is_string() && value.get_ref<const std::string&>() == element_name(type)) return type;
  }
  fail(source, name, "dtype " + quote(value) + " is not one of F32, F16, BF16, I32, I64, U8");
}

// The bytes that a shape takes; sizes that overflow are found.
std::uint64_t shape_bytes(const std::string& source, const StoredTensor& tensor) {
  std::uint64_t bytes = element_bytes(tensor.type);
  const bool empty = std::find(tensor.shape.begin(), tensor.shape.end(), 0) != tensor.shape.end();
  if (empty) return 0;
  for (const std::int64_t extent : tensor.shape) {
    if (bytes > std::numeric_limits<std::uint64_t>::max() / static_cast<std::uint64_t>(extent)) {
      fail(source, tensor.name, "its shape overflows");
    }
    bytes *= static_cast<std::uint64_t>(extent);
  }
  return bytes;
}

StoredTensor parse_entry(const std::string& source, const std::string& name, const json& entry,
                         std::span<const std::byte> data) {
  StoredTensor tensor;
  tensor.name = name;
  tensor.type = parse_type(source, name, member(source, name, entry, "dtype"));
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
         "data_offsets " + quote(offsets) + " leave the file's " + std::to_string(data.size()) + " bytes of data");
  }
  const std::uint64_t expected = shape_bytes(source, tensor);
  if (end - begin != expected) {
    fail(source, name,
         "data_offsets span " + std::to_string(end - begin) + " bytes, its shape takes " + std::to_string(expected));
  }
  tensor.bytes = data.subspan(begin, end - begin);
  return tensor;
}

std::map<std::string, std::string> parse_metadata(const std::string& source, const json& entry) {
  std::map<std::string, std::string> metadata;
  if (!entry.is_object()) fail(source, "__metadata__ is not a JSON object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) fail(source, "__metadata__ " + quote(key) + " is not a string");
    metadata.emplace(key, value.get<std::string>());
  }
  return metadata;
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
  if (memory.size() < kLengthBytes) fail(source_, "is too short for a safetensors file");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, memory.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > memory.size() - kLengthBytes) {
    fail(source_, "header length " + std::to_string(header_bytes) + " exceeds the file or the limit of " +
                      std::to_string(kMaxHeaderBytes));
  }
  const auto* text = reinterpret_cast<const char*>(memory.data() + kLengthBytes);
  const json header = parse_header(source_, {text, header_bytes});
  const std::span<const std::byte> data = memory.subspan(kLengthBytes + header_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      metadata_ = parse_metadata(source_, entry);
    } else {
      tensors_.emplace(name, parse_entry(source_, name, entry, data));
    }
  }
  check_coverage(data);
  align();
}

// The data is covered by the tensors exactly once: no two overlap, and no byte is left over.
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

// The format promises no alignment, readers of the elements need it.
void Safetensors::align() {
  for (auto& entry : tensors_) {
    StoredTensor& tensor = entry.second;
    if (reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % element_bytes(tensor.type) == 0) continue;
    auto& copy = aligned_copies_.emplace_back((tensor.bytes.size() + 7) / 8);
    std::memcpy(copy.data(), tensor.bytes.data(), tensor.bytes.size());
    tensor.bytes = std::as_bytes(std::span(copy)).first(tensor.bytes.size());
  }
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
