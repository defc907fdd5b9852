// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "core/failure.hpp"
#include "core/validate.hpp"

namespace hashevict::core {
namespace {

std::string text_of(const CacheMemory& memory, const PageRow& row) {
  std::string text = "sequence " + std::to_string(row.sequence);
  if (memory.table.num_heads == 0) return text;
  return "layer " + std::to_string(row.layer) + ", " + text + ", KV head " + std::to_string(row.kv_head);
}

/// Checks a row in host memory for `num_slots` slots.
void check_row(const Settings& settings, const CacheMemory& memory, const PageRow& row, int32_t num_slots,
               PageSet& used) {
  const int32_t pages = num_parts(num_slots, settings.placement.page_size);
  const BlockTable table = memory.table.of_layer(row.layer, settings.shape.num_sequences);
  if (table.offsets != nullptr) {
    const int32_t* const offsets = table.offsets + table.row(row.sequence, row.kv_head);
    check_page_list(settings, memory, row, offsets[0], offsets[1], pages);
  }
  check_page_entries(memory, row, block_table_row(table, row.sequence, row.kv_head), pages, &used);
}

/// Pages of a layer's rows of one sequence, where every slot is in use.
int64_t pages_of_layer(const Settings& settings, int32_t layer) {
  int64_t pages = 0;
  for (const HeadSettings& head : settings.heads_of(layer)) {
    const int64_t own = num_parts(head.capacity, settings.placement.page_size);
    pages = settings.placement.is_paged_per_head() ? pages + own : std::max(pages, own);
  }
  return pages;
}

}  // namespace

int32_t most_pages(const Settings& settings) {
  if (!settings.placement.is_paged()) return 0;
  int32_t slots = 0;
  for (const LayerSettings& layer : settings.layers) slots = std::max(slots, layer.max_capacity);
  return num_parts(slots, settings.placement.page_size);
}

int64_t pages_of_sequence(const Settings& settings) {
  if (!settings.placement.is_paged_per_head()) return most_pages(settings);
  int64_t pages = 0;
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) pages += pages_of_layer(settings, layer);
  return pages;
}

int64_t pages_of_check(const Settings& settings) {
  if (!settings.placement.is_paged()) return 0;
  const int64_t sequences = settings.shape.num_sequences;
  int64_t most = std::min<int64_t>(sequences, 2) * pages_of_sequence(settings);  // a fork has two in all layers
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) {
    most = std::max(most, sequences * pages_of_layer(settings, layer));
  }
  return most;
}

void check_page_list(const Settings& settings, const CacheMemory& memory, const PageRow& row, int64_t begin,
                     int64_t end, int32_t pages) {
  if (begin >= 0 && end <= memory.table.length && end - begin >= pages) return;
  const int64_t index = int64_t{row.layer} * settings.shape.num_sequences * memory.table.num_heads +
                        memory.table.row(row.sequence, row.kv_head);
  fail(HASHEVICT_INVALID_ARGUMENT,
       "memory.block_table_offsets[{}] = {}, [{}] = {}: expected {} pages or more for {}, within the {} entries of "
       "memory.block_table_length",
       index, begin, index + 1, end, pages, text_of(memory, row), memory.table.length);
}

void check_page_entries(const CacheMemory& memory, const PageRow& row, const int32_t* entries, int32_t count,
                        PageSet* used) {
  for (int32_t i = 0; i < count; ++i) {
    if (entries[i] < 0 || entries[i] >= memory.num_pages) {
      fail(HASHEVICT_INVALID_ARGUMENT, "memory.block_table[{}][{}] = {}: expected 0 to {}", text_of(memory, row), i,
           entries[i], memory.num_pages - 1);
    }
    if (used == nullptr || used->insert(entries[i])) continue;
    fail(HASHEVICT_INVALID_ARGUMENT,
         "memory.block_table[{}][{}] = {}: expected a page that occurs once among those that this call uses",
         text_of(memory, row), i, entries[i]);
  }
}

int32_t longest_length(const Settings& settings, std::span<const int32_t> tokens) {
  int32_t length = 0;
  for (std::size_t layer = 0; layer < tokens.size(); ++layer) {
    length = std::max(length, std::min(tokens[layer], settings.layers[layer].max_capacity));
  }
  return length;
}

void validate_pages(const Settings& settings, const CacheMemory& memory, int32_t layer, int32_t sequence,
                    int32_t tokens, PageSet& used) {
  if (!settings.placement.is_paged()) return;
  const int32_t rows = std::max(memory.table.num_heads, 1);
  for (int32_t kv_head = 0; kv_head < rows; ++kv_head) {
    const int32_t slots = settings.head(layer, kv_head).length(tokens);
    check_row(settings, memory, {memory.table.num_heads > 0 ? layer : 0, sequence, kv_head}, slots, used);
  }
}

void validate_pages_of_layers(const Settings& settings, const CacheMemory& memory, std::span<const int32_t> sequences,
                              std::span<const int32_t> tokens, PageSet& used) {
  if (!settings.placement.is_paged()) return;
  if (!settings.placement.is_paged_per_head()) {
    used.clear();
    const int32_t slots = longest_length(settings, tokens);
    for (const int32_t sequence : sequences) check_row(settings, memory, {0, sequence, 0}, slots, used);
    return;
  }
  for (const std::vector<int32_t>& pool : memory.pools) {
    used.clear();
    for (const int32_t layer : pool) {
      for (const int32_t sequence : sequences) {
        validate_pages(settings, memory, layer, sequence, tokens[static_cast<std::size_t>(layer)], used);
      }
    }
  }
}

}  // namespace hashevict::core
