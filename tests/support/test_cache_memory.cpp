// SPDX-License-Identifier: Apache-2.0
// The memory that a TestCache lends.
#include <algorithm>
#include <numeric>
#include <random>

#include "support/element.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

constexpr std::byte kAllBits{0xFF};  // NaN in every float type, so that a read of an unwritten slot shows

int32_t pages_of(const Config& config, int32_t slots) {
  return (slots + config.placement.page_size - 1) / config.placement.page_size;
}

/// Pages of each row of the block table.
std::vector<int32_t> pages_of_rows(const Config& config) {
  const Shape& shape = config.shape;
  std::vector<int32_t> pages;
  if (config.placement.layout == Layout::paged) {
    int32_t slots = 0;
    for (int32_t layer = 0; layer < shape.num_layers; ++layer) slots = std::max(slots, capacity_of(config, layer, 0));
    pages.assign(static_cast<std::size_t>(shape.num_sequences), pages_of(config, slots));
    return pages;
  }
  for (int32_t layer = 0; layer < shape.num_layers; ++layer) {
    for (int32_t sequence = 0; sequence < shape.num_sequences; ++sequence) {
      for (int32_t head = 0; head < shape.num_kv_heads; ++head) {
        pages.push_back(pages_of(config, capacity_of(config, layer, head)));
      }
    }
  }
  return pages;
}

}  // namespace

void* TestCache::lend(std::size_t bytes, std::byte fill) {
  lent_.emplace_back(backend_, bytes);
  upload(backend_, std::vector<std::byte>(bytes, fill).data(), lent_.back().data(), bytes);
  return lent_.back().data();
}

void TestCache::lend_strided(Memory& memory, bool interleaved) {
  const auto element = static_cast<int64_t>(size_of(config_.shape.dtype));
  const int64_t row = config_.shape.head_dim * element;
  const int32_t heads = config_.shape.num_kv_heads;
  const bool slot_major = config_.placement.layout == Layout::slot_major;
  const int64_t inner = interleaved ? 2 * row : row + 8 * element;
  memory.head_stride = slot_major ? inner : 0;
  memory.slot_stride = slot_major ? heads * inner + 8 * element : inner;
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    int64_t end = slot_major ? capacity_of(config_, layer, 0) * memory.slot_stride : 0;
    for (int32_t head = 0; head < heads && !slot_major; ++head) {
      memory.head_offsets.push_back(end);
      end += capacity_of(config_, layer, head) * memory.slot_stride + 8 * element;
    }
    memory.sequence_strides.push_back(end + 16 * element);
    const auto bytes = static_cast<std::size_t>(config_.shape.num_sequences * memory.sequence_strides.back());
    void* const keys = lend(bytes, kAllBits);
    memory.keys.push_back(keys);
    memory.values.push_back(interleaved ? static_cast<std::byte*>(keys) + row : lend(bytes, kAllBits));
  }
  num_slot_buffers_ = lent_.size();
}

void TestCache::lend_pages(Memory& memory, bool csr) {
  const bool per_head = config_.placement.layout == Layout::paged_per_head;
  const std::vector<int32_t> lists = pages_of_rows(config_);
  const int32_t total = std::accumulate(lists.begin(), lists.end(), 0);
  const int32_t stride = *std::max_element(lists.begin(), lists.end()) + 2;
  memory.num_pages = total + 3;  // some pages belong to no row

  std::vector<int32_t> order(static_cast<std::size_t>(memory.num_pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937{5});
  auto next = order.begin();
  for (const int32_t pages : lists) {
    offsets_.push_back(static_cast<int32_t>(table_.size()));
    table_.insert(table_.end(), next, next + pages);
    if (!csr) table_.insert(table_.end(), static_cast<std::size_t>(stride - pages), -1);
    next += pages;
  }
  offsets_.push_back(static_cast<int32_t>(table_.size()));

  const std::size_t page = static_cast<std::size_t>(per_head ? 1 : config_.shape.num_kv_heads) *
                           static_cast<std::size_t>(config_.placement.page_size) *
                           static_cast<std::size_t>(config_.shape.head_dim);
  const std::size_t bytes = static_cast<std::size_t>(memory.num_pages) * page * size_of(config_.shape.dtype);
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    const bool same_pool = per_head && layer > 0;
    memory.keys.push_back(same_pool ? memory.keys.front() : lend(bytes, kAllBits));
    memory.values.push_back(same_pool ? memory.values.front() : lend(bytes, kAllBits));
  }
  num_slot_buffers_ = lent_.size();
  void* const table = lend(table_.size() * sizeof(int32_t), kAllBits);
  upload(backend_, table_.data(), table, table_.size() * sizeof(int32_t));
  lent_table_ = static_cast<const int32_t*>(table);
  memory.block_table = lent_table_;
  if (!csr) {
    memory.block_table_stride = stride;
    return;
  }
  void* const offsets = lend(offsets_.size() * sizeof(int32_t), kAllBits);
  upload(backend_, offsets_.data(), offsets, offsets_.size() * sizeof(int32_t));
  lent_offsets_ = offsets;
  memory.block_table_offsets = static_cast<const int32_t*>(offsets);
  memory.block_table_length = static_cast<int64_t>(table_.size());
}

void TestCache::set_page_list(int32_t row, int32_t first, int32_t end) {
  std::vector<int32_t> offsets = offsets_;
  offsets[static_cast<std::size_t>(row)] = first;
  offsets[static_cast<std::size_t>(row) + 1] = end;
  upload(backend_, offsets.data(), lent_offsets_, offsets.size() * sizeof(int32_t));
}

bool TestCache::is_paged() const {
  return lent_table_ != nullptr;
}

const int32_t* TestCache::page_list(int32_t layer, int32_t sequence, int32_t kv_head) const {
  const bool per_head = config_.placement.layout == Layout::paged_per_head;
  const Shape& shape = config_.shape;
  const int32_t row = per_head ? (layer * shape.num_sequences + sequence) * shape.num_kv_heads + kv_head : sequence;
  return table_.data() + offsets_[static_cast<std::size_t>(row)];
}

void TestCache::lend_state(Memory& memory) {
  const Bytes bytes = Cache::required_bytes(config_);
  memory.state_bytes = bytes.state;
  memory.state = lend(bytes.state, kAllBits);
  memory.workspace_bytes = bytes.workspace;
  memory.workspace = lend(bytes.workspace, kAllBits);
}

}  // namespace hashevict::test
