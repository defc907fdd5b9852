// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "output_file.hpp"
#include "safetensors.hpp"

namespace hashevict::engine {
namespace {

// Orders wider elements first, so that every tensor is aligned; keeps the order of equals.
std::vector<const StoredTensor*> file_order(const std::vector<StoredTensor>& tensors) {
  std::vector<const StoredTensor*> order;
  order.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return element_bytes(a->type) > element_bytes(b->type); });
  return order;
}

// Returns the bytes of a shape, or a number that no span has if the shape is negative or overflows.
std::uint64_t shape_bytes(ElementType type, const std::vector<std::int64_t>& shape) {
  std::uint64_t bytes = element_bytes(type);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes)) return ~0ULL;
  }
  return bytes;
}

}  // namespace

void SafetensorsWriter::add(std::string name, ElementType type, std::vector<std::int64_t> shape,
                            std::span<const std::byte> bytes) {
  for (const StoredTensor& tensor : tensors_) {
    if (tensor.name == name) throw Error{Status::invalid_argument, "tensor " + name + ": is given twice"};
  }
  if (shape_bytes(type, shape) != bytes.size()) {
    throw Error{Status::invalid_argument,
                "tensor " + name + ": " + std::to_string(bytes.size()) + " bytes do not fit its shape"};
  }
  tensors_.push_back({std::move(name), type, std::move(shape), bytes});
}

std::string SafetensorsWriter::header() const {
  nlohmann::ordered_json header;
  std::uint64_t offset = 0;
  for (const StoredTensor* tensor : file_order(tensors_)) {
    const std::uint64_t end = offset + tensor->bytes.size();
    header[tensor->name] = {
        {"dtype", element_name(tensor->type)}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.is_null() ? "{}" : header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
  const std::string text = header();
  const std::uint64_t length = text.size();
  OutputFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(text)));
  for (const StoredTensor* tensor : file_order(tensors_)) file.write(tensor->bytes);
  file.commit();
}

}  // namespace hashevict::engine
