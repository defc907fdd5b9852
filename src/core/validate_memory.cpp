// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>

#include "core/failure.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

bool is_paged(const Settings& settings) {
  return settings.config.layout == HASHEVICT_LAYOUT_PAGED;
}

bool aligned(const void* pointer, uint64_t alignment) {
  return reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
}

KvLayout dense_layout(const Settings& settings, int32_t capacity) {
  const int64_t dim = settings.config.head_dim;
  const int64_t heads = settings.heads();
  switch (settings.config.layout) {
    case HASHEVICT_LAYOUT_SLOT_MAJOR:
      return {capacity * heads * dim, dim, heads * dim, 0};
    case HASHEVICT_LAYOUT_PAGED:
      return {0, settings.config.page_size * dim, dim, heads * settings.config.page_size * dim};
    default:
      return {heads * capacity * dim, capacity * dim, dim, 0};
  }
}

/// Along one axis of lent keys and values: how far apart its `count` elements lie.
struct Axis {
  const char* name;
  int64_t stride;
  int64_t count;
};

constexpr int64_t kMaxStride = int64_t{1} << 48;

/// From the smallest stride to the largest, each must step over all that the smaller ones span.
void check_apart(std::array<Axis, 3> axes, int64_t head_dim) {
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  int64_t span = head_dim;
  for (const Axis& axis : axes) {
    if (axis.count == 1) continue;
    require(axis.stride >= span,
            "memory.{} = {}: expected at least {}, what the smaller strides span, so that no two slots share memory",
            axis.name, axis.stride, span);
    const int64_t steps = axis.count - 1;
    span = steps > kMaxStride / axis.stride ? kMaxStride + 1 : steps * axis.stride + span;  // does not overflow
  }
}

/// The strides as given, without the one that the layout does not use.
KvLayout strides_in_use(const hashevict_memory& m, const Settings& settings) {
  const bool paged = is_paged(settings);
  return {paged ? 0 : m.sequence_stride, m.head_stride, m.slot_stride, paged ? m.page_stride : 0};
}

bool all_zero(const KvLayout& strides) {
  return strides.sequence_stride == 0 && strides.head_stride == 0 && strides.slot_stride == 0 &&
         strides.page_stride == 0;
}

KvLayout resolve_layout(const hashevict_memory& m, const Settings& settings, int32_t capacity) {
  const KvLayout strides = strides_in_use(m, settings);
  if (all_zero(strides)) return dense_layout(settings, capacity);
  const hashevict_config& config = settings.config;
  const bool paged = is_paged(settings);
  const std::array axes{Axis{"head_stride", strides.head_stride, settings.heads()},
                        Axis{"slot_stride", strides.slot_stride, paged ? config.page_size : capacity},
                        paged ? Axis{"page_stride", strides.page_stride, m.num_pages}
                              : Axis{"sequence_stride", strides.sequence_stride, config.num_sequences}};
  for (const Axis& axis : axes) {
    require(axis.stride >= config.head_dim && axis.stride <= kMaxStride,
            "memory.{} = {}: expected at least head_dim = {} (or all strides 0 for a dense layout)", axis.name,
            axis.stride, config.head_dim);
  }
  check_apart(axes, config.head_dim);
  return strides;
}

void check_keys_and_values(const hashevict_memory& m, const Settings& settings, CacheMemory& lent) {
  require((m.keys == nullptr) == (m.values == nullptr), "memory.{} = NULL: expected keys and values both, or neither",
          m.keys == nullptr ? "keys" : "values");
  require(m.keys != nullptr || !is_paged(settings),
          "memory.keys = NULL: expected the engine's pages, since config.layout is PAGED");
  require(m.keys != nullptr || all_zero(strides_in_use(m, settings)),
          "memory.keys = NULL: expected lent keys and values where strides are given");
  if (m.keys == nullptr) return;
  const auto alignment = static_cast<uint64_t>(size_of(settings.dtype));
  for (int32_t layer = 0; layer < settings.config.num_layers; ++layer) {
    for (const auto& [name, list] : {std::pair{"keys", m.keys}, std::pair{"values", m.values}}) {
      require(list[layer] != nullptr, "memory.{}[{}] = NULL: expected a base pointer", name, layer);
      require(aligned(list[layer], alignment), "memory.{}[{}] = {}: expected a multiple of the element size {}", name,
              layer, list[layer], alignment);
    }
    lent.keys.push_back(m.keys[layer]);
    lent.values.push_back(m.values[layer]);
  }
}

void check_block_table(const hashevict_memory& m, const Settings& settings, CacheMemory& lent) {
  if (!is_paged(settings)) {
    for (const auto& [name, table] :
         {std::pair{"block_table", m.block_table}, std::pair{"block_table_offsets", m.block_table_offsets}}) {
      require(table == nullptr, "memory.{} = {}: expected NULL unless config.layout is PAGED", name,
              static_cast<const void*>(table));
    }
    return;
  }
  require(m.block_table != nullptr, "memory.block_table = NULL: expected a table, since config.layout is PAGED");
  require(m.num_pages >= 1 && m.num_pages <= INT32_MAX, "memory.num_pages = {}: expected 1 to {}", m.num_pages,
          INT32_MAX);
  if (m.block_table_offsets == nullptr) {
    for (const LayerSettings& layer : settings.layers) {
      const int64_t pages = (layer.capacity + settings.config.page_size - 1) / settings.config.page_size;
      require(m.block_table_stride >= pages, "memory.block_table_stride = {}: expected at least {} pages per sequence",
              m.block_table_stride, pages);
    }
  }
  lent.block_table = m.block_table;
  lent.block_table_stride = m.block_table_stride;
  lent.block_table_offsets = m.block_table_offsets;
  lent.num_pages = m.num_pages;
}

void* check_part(const char* name, void* pointer, uint64_t given, uint64_t needed) {
  if (pointer == nullptr) return nullptr;
  require(aligned(pointer, HASHEVICT_ALIGNMENT), "memory.{} = {}: expected a multiple of {}", name, pointer,
          HASHEVICT_ALIGNMENT);
  require(given >= needed, "memory.{}_bytes = {}: expected at least {}", name, given, needed);
  return pointer;
}

}  // namespace

CacheMemory validate_memory(const hashevict_memory* memory, const Settings& settings, uint64_t state_bytes,
                            uint64_t workspace_bytes) {
  hashevict_memory m{};
  if (memory != nullptr) m = read_versioned(memory, "memory");
  CacheMemory lent;
  check_keys_and_values(m, settings, lent);
  check_block_table(m, settings, lent);
  for (const LayerSettings& layer : settings.layers) {
    lent.layouts.push_back(resolve_layout(m, settings, layer.capacity));
  }
  lent.state = check_part("state", m.state, m.state_bytes, state_bytes);
  lent.workspace = check_part("workspace", m.workspace, m.workspace_bytes, workspace_bytes);
  return lent;
}

const int32_t* block_table_row(const Settings& settings, const CacheMemory& memory, int32_t sequence) {
  if (!is_paged(settings)) return nullptr;
  if (memory.block_table_offsets != nullptr) return memory.block_table + memory.block_table_offsets[sequence];
  return memory.block_table + sequence * memory.block_table_stride;
}

void validate_pages(const Settings& settings, const CacheMemory& memory, int32_t sequence, int32_t num_slots) {
  if (!is_paged(settings)) return;
  const int32_t pages = (num_slots + settings.config.page_size - 1) / settings.config.page_size;
  if (memory.block_table_offsets != nullptr) {
    const int64_t begin = memory.block_table_offsets[sequence];
    const int64_t end = memory.block_table_offsets[sequence + 1];
    require(begin >= 0 && end - begin >= pages,
            "memory.block_table_offsets[{}] = {}, [{}] = {}: expected {} pages for sequence {}", sequence, begin,
            sequence + 1, end, pages, sequence);
  }
  const int32_t* const row = block_table_row(settings, memory, sequence);
  for (int32_t i = 0; i < pages; ++i) {
    require(row[i] >= 0 && row[i] < memory.num_pages,
            "memory.block_table[sequence {}][{}] = {}: expected a page from 0 to {}", sequence, i, row[i],
            memory.num_pages - 1);
  }
}

}  // namespace hashevict::core
