// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/string.h>

#include <algorithm>
#include <string>
#include <string_view>

#include "cache.hpp"
#include "values.hpp"

namespace hashevict::python {
namespace {

std::vector<void*> pointers_of(const char* name, nb::handle tensors, std::deque<BorrowedTensor>& held) {
  std::vector<void*> pointers;
  for (nb::handle tensor : tensors) {
    pointers.push_back(held.emplace_back(name, tensor, BorrowedTensor::Use::write).tensor().data);
  }
  return pointers;
}

std::vector<int64_t> numbers_of(const char* name, nb::handle values) {
  std::vector<int64_t> numbers;
  for (nb::handle value : values) numbers.push_back(to_integer(name, value, INT64_MIN, INT64_MAX));
  return numbers;
}

const int32_t* entries_of(const char* name, const Tensor& tensor) {
  if (tensor.element_type() == DType::int32) return tensor.data_as<const int32_t>();
  throw Error{Status::invalid_argument, std::string{name} + ": expected elements of type int32"};
}

/// The rows of a block table, one for each sequence, or for each layer, sequence and KV head.
std::vector<int64_t> table_rows(const Config& config) {
  const Shape& shape = config.shape;
  if (config.placement.layout != Layout::paged_per_head) return {shape.num_sequences};
  return {shape.num_layers, shape.num_sequences, shape.num_kv_heads};
}

std::string listed(const std::vector<int64_t>& extents) {
  std::string text;
  for (const int64_t extent : extents) text += (text.empty() ? "[" : ", ") + std::to_string(extent);
  return text + "]";
}

/// Refuses a table, or offsets, of other rows than the config's: the library knows their addresses alone.
void check_rows(const Config& config, const Tensor& table, const Tensor* offsets) {
  const std::vector<int64_t> rows = table_rows(config);
  if (offsets == nullptr) {
    const std::vector<int64_t> given(table.shape, table.shape + std::max(table.rank - 1, 0));
    if (table.rank > 0 && given == rows) return;
    throw Error{Status::invalid_argument, "memory.block_table: rows " + listed(given) + ": expected " + listed(rows)};
  }
  int64_t expected = 1;
  for (const int64_t extent : rows) expected *= extent;
  ++expected;
  if (table.rank != 1) throw Error{Status::invalid_argument, "memory.block_table: expected one dimension with offsets"};
  if (offsets->rank == 1 && offsets->shape[0] == expected && (expected < 2 || offsets->stride[0] == 1)) return;
  const std::vector<int64_t> given(offsets->shape, offsets->shape + offsets->rank);
  throw Error{Status::invalid_argument, "memory.block_table_offsets: shape " + listed(given) + ": expected [" +
                                            std::to_string(expected) + "], contiguous"};
}

/// An int32 table whose rows are read from the tensor itself.
void lend_block_table(Memory& memory, const Tensor& table) {
  memory.block_table = entries_of("memory.block_table", table);
  const int32_t last = table.rank - 1;
  if (last < 0 || (table.shape[last] > 1 && table.stride[last] != 1)) {
    throw Error{Status::invalid_argument, "memory.block_table: expected contiguous rows"};
  }
  for (int32_t axis = last - 2; axis >= 0; --axis) {
    if (table.shape[axis] > 1 && table.stride[axis] != table.shape[axis + 1] * table.stride[axis + 1]) {
      throw Error{Status::invalid_argument, "memory.block_table: expected rows of one stride"};
    }
  }
  memory.block_table_stride = last == 0 ? table.shape[0] : table.stride[last - 1];
  memory.block_table_length = table.shape[0];
}

}  // namespace

Memory lend(const Config& config, nb::dict fields, std::deque<BorrowedTensor>& held) {
  Memory memory;
  const Tensor* table = nullptr;
  const Tensor* offsets = nullptr;
  const auto borrow = [&](const char* name, nb::handle value, BorrowedTensor::Use use) -> const Tensor& {
    return held.emplace_back(name, value, use).tensor();
  };
  const auto bytes = [&](const Tensor& tensor) -> uint64_t {
    if (tensor.element_type() == DType::uint8 && tensor.rank == 1) return static_cast<uint64_t>(tensor.shape[0]);
    throw Error{Status::invalid_argument, "memory.state, memory.workspace: expected uint8 of one dimension"};
  };
  for (const auto& [key, value] : fields) {
    const std::string name = nb::cast<std::string>(nb::str(key));
    const std::string full_name = "memory." + name;
    const auto number = [&, given = value] { return to_integer(full_name, given, INT64_MIN, INT64_MAX); };
    if (name == "keys") {
      memory.keys = pointers_of("memory.keys", value, held);
    } else if (name == "values") {
      memory.values = pointers_of("memory.values", value, held);
    } else if (name == "head_offsets") {
      memory.head_offsets = numbers_of("memory.head_offsets", value);
    } else if (name == "sequence_strides") {
      memory.sequence_strides = numbers_of("memory.sequence_strides", value);
    } else if (name == "head_stride") {
      memory.head_stride = number();
    } else if (name == "slot_stride") {
      memory.slot_stride = number();
    } else if (name == "page_stride") {
      memory.page_stride = number();
    } else if (name == "num_pages") {
      memory.num_pages = number();
    } else if (name == "block_table") {
      table = &borrow("memory.block_table", value, BorrowedTensor::Use::read);
      lend_block_table(memory, *table);
    } else if (name == "block_table_offsets") {
      offsets = &borrow("memory.block_table_offsets", value, BorrowedTensor::Use::read);
      memory.block_table_offsets = entries_of("memory.block_table_offsets", *offsets);
    } else if (name == "state") {
      const Tensor& state = borrow("memory.state", value, BorrowedTensor::Use::write);
      memory.state = state.data;
      memory.state_bytes = bytes(state);
    } else if (name == "workspace") {
      const Tensor& workspace = borrow("memory.workspace", value, BorrowedTensor::Use::write);
      memory.workspace = workspace.data;
      memory.workspace_bytes = bytes(workspace);
    } else {
      throw Error{Status::invalid_argument, full_name + ": there is no such field"};
    }
  }
  if (table != nullptr) check_rows(config, *table, offsets);
  return memory;
}

}  // namespace hashevict::python
