// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

/// The strides of a layer in bytes, each 0 where the layout does not use it.
struct Strides {
  int64_t sequence, head, slot, page;
};

Strides dense_strides(const Settings& settings, const LayerSettings& layer) {
  const int64_t row = settings.shape.format.row_bytes();
  const int64_t heads = settings.shape.num_kv_heads;
  const int32_t page = settings.placement.page_size;
  switch (settings.placement.layout) {
    case HASHEVICT_LAYOUT_SLOT_MAJOR:
      return {layer.max_capacity * heads * row, row, heads * row, 0};
    case HASHEVICT_LAYOUT_PAGED:
      return {0, page * row, row, heads * page * row};
    case HASHEVICT_LAYOUT_PAGED_PER_HEAD:
      return {0, 0, row, page * row};
    default:
      return {layer.num_slots * row, 0, row, 0};
  }
}

/// A layout with pages, for messages.
const char* layout_name(const Placement& placement) {
  return placement.is_paged_per_head() ? "PAGED_PER_HEAD" : "PAGED";
}

/// One axis of lent keys or values: the distance between its `count` elements.
struct Axis {
  Field name;
  int64_t stride;
  int64_t count;
};

/// From the smallest stride to the largest, each stride must exceed the span of all smaller axes.
void check_apart(std::array<Axis, 3> axes, int64_t row_bytes) {
  std::sort(axes.begin(), axes.end(), [](const Axis& a, const Axis& b) { return a.stride < b.stride; });
  int64_t span = row_bytes;
  for (const Axis& axis : axes) {
    if (axis.count == 1) continue;
    require(axis.stride >= span,
            "{} = {}: expected at least {}, the bytes that the smaller strides span, so that no two slots share memory",
            text_of(axis.name), axis.stride, span);
    span += axis.stride * (axis.count - 1);
  }
}

/// The given strides of a layer, without those that the layout does not use.
Strides strides_in_use(const hashevict_memory& m, const Settings& settings, int32_t layer) {
  const Placement& placement = settings.placement;
  return {placement.is_paged() || m.sequence_strides == nullptr ? 0 : m.sequence_strides[layer],
          placement.has_head_stride() ? m.head_stride : 0, m.slot_stride, placement.is_paged() ? m.page_stride : 0};
}

/// Takes an array of zeros for none where no other stride in use is given.
void drop_zero_strides(hashevict_memory& m, const Settings& settings) {
  const Strides strides = strides_in_use(m, settings, 0);
  if (m.sequence_strides == nullptr || strides.head != 0 || strides.slot != 0) return;
  const int64_t* const end = m.sequence_strides + settings.shape.num_layers;
  if (std::all_of(m.sequence_strides, end, [](int64_t stride) { return stride == 0; })) m.sequence_strides = nullptr;
}

/// Whether the caller gives strides that the layout uses.
bool gives_strides(const hashevict_memory& m, const Settings& settings) {
  const Strides strides = strides_in_use(m, settings, 0);
  return strides.head != 0 || strides.slot != 0 || strides.page != 0 ||
         (!settings.placement.is_paged() && m.sequence_strides != nullptr);
}

void check_stride(const Settings& settings, const Axis& axis) {
  const RowFormat& format = settings.shape.format;
  require_multiple(axis.name, axis.stride, format.element_bytes(), format.row_bytes(),
                   max_stride(axis.count) / format.element_bytes() * format.element_bytes(),
                   ", bytes from those of a row on (or all strides 0 for a dense layout)");
}

void check_strides(const Settings& settings, const std::array<Axis, 3>& axes) {
  for (const Axis& axis : axes) check_stride(settings, axis);
  check_apart(axes, settings.shape.format.row_bytes());
}

/// Consecutive heads of a layer in HEAD_MAJOR whose slots follow one another without a gap.
struct HeadRun {
  int32_t first_head;
  int64_t offset;
  int64_t slots;
};

std::vector<HeadRun> runs_of(const Settings& settings, const CacheMemory& memory, int32_t layer, int64_t slot_stride) {
  std::vector<HeadRun> runs;
  for (int32_t kv_head = 0; kv_head < settings.shape.num_kv_heads; ++kv_head) {
    const int64_t offset = memory.head_offsets[settings.head_index(layer, kv_head)];
    const int64_t slots = settings.head(layer, kv_head).capacity;
    if (!runs.empty() && runs.back().offset + runs.back().slots * slot_stride == offset) {
      runs.back().slots += slots;
    } else {
      runs.push_back({kv_head, offset, slots});
    }
  }
  return runs;
}

/// Checks the strides of a layer in HEAD_MAJOR, and that its heads are apart.
void check_head_runs(const Settings& settings, const CacheMemory& memory, int32_t layer, const Strides& strides) {
  const Axis sequences{{"memory", "sequence_strides", layer}, strides.sequence, settings.shape.num_sequences};
  std::vector<Footprint> parts;
  for (const HeadRun& run : runs_of(settings, memory, layer, strides.slot)) {
    check_strides(settings, {Axis{{"memory", "slot_stride"}, strides.slot, run.slots}, sequences,
                             Axis{{"memory", "slot_stride"}, strides.slot, 1}});
    parts.push_back({{.owner = "memory", .name = "head_offsets", .index = layer, .second_index = run.first_head},
                     static_cast<const std::byte*>(memory.keys[static_cast<std::size_t>(layer)]) + run.offset,
                     settings.shape.format.row_bytes(),
                     {{{strides.slot, run.slots}, {strides.sequence, settings.shape.num_sequences}, {0, 1}}}});
  }
  require_all_apart(parts);
}

/// Adds the offsets of a layer's heads in HEAD_MAJOR. @return the end of the last one in memory
/// @param most bytes up to which a head may reach
int64_t add_head_offsets(const hashevict_memory& m, const Settings& settings, int32_t layer, int64_t slot_stride,
                         int64_t most, CacheMemory& lent) {
  const int element = settings.shape.format.element_bytes();
  int64_t next = 0;
  int64_t end = 0;
  for (int32_t kv_head = 0; kv_head < settings.shape.num_kv_heads; ++kv_head) {
    const int64_t bytes = settings.head(layer, kv_head).capacity * slot_stride;
    int64_t offset = next;
    if (m.head_offsets != nullptr) {
      const int64_t highest = std::clamp<int64_t>(most - bytes, 0, kMaxSpan);
      offset = m.head_offsets[settings.head_index(layer, kv_head)];
      require_multiple({.owner = "memory", .name = "head_offsets", .index = layer, .second_index = kv_head}, offset,
                       element, 0, highest / element * element, ", bytes");
    }
    lent.head_offsets.push_back(offset);
    next = offset + bytes;
    end = std::max(end, next);
  }
  return end;
}

/// Adds the layout of a layer whose heads each have their own place.
void add_head_major(const hashevict_memory& m, const Settings& settings, int32_t layer, CacheMemory& lent) {
  const LayerSettings& own = settings.layer(layer);
  Strides strides = dense_strides(settings, own);
  const bool given = gives_strides(m, settings);
  if (given) {
    require(m.sequence_strides != nullptr,
            "memory.sequence_strides = NULL: expected a stride for each layer, since "
            "slot_stride is given");
    strides = strides_in_use(m, settings, layer);
    // Without offsets the stride spans all heads, one behind the other.
    check_stride(settings, {{"memory", "slot_stride"},
                            strides.slot,
                            m.head_offsets == nullptr ? own.num_slots : int64_t{own.max_capacity}});
  }
  // Without strides the next sequence begins where the last head ends.
  const int64_t most = given ? INT64_MAX : max_stride(settings.shape.num_sequences);
  const int64_t end = add_head_offsets(m, settings, layer, strides.slot, most, lent);
  if (!given) strides.sequence = end;
  if (!lent.keys.empty()) check_head_runs(settings, lent, layer, strides);
  lent.layouts.push_back({.sequence_stride = strides.sequence, .slot_stride = strides.slot});
}

/// Adds the layout of a layer whose heads are a stride apart, or have pages of their own.
void add_with_head_stride(const hashevict_memory& m, const Settings& settings, int32_t layer, CacheMemory& lent) {
  const LayerSettings& own = settings.layer(layer);
  const bool paged = settings.placement.is_paged();
  Strides strides = dense_strides(settings, own);
  if (gives_strides(m, settings)) {
    strides = strides_in_use(m, settings, layer);
    require(paged || m.sequence_strides != nullptr,
            "memory.sequence_strides = NULL: expected a stride for each layer, since the others are given");
    check_strides(
        settings,
        {settings.placement.has_head_stride()
             ? Axis{{"memory", "head_stride"}, strides.head, settings.shape.num_kv_heads}
             : Axis{{"memory", "slot_stride"}, strides.slot, 1},
         Axis{{"memory", "slot_stride"}, strides.slot, paged ? settings.placement.page_size : own.max_capacity},
         paged ? Axis{{"memory", "page_stride"}, strides.page, m.num_pages}
               : Axis{{"memory", "sequence_strides", layer}, strides.sequence, settings.shape.num_sequences}});
  }
  for (int64_t kv_head = 0; kv_head < settings.shape.num_kv_heads; ++kv_head) {
    lent.head_offsets.push_back(kv_head * strides.head);
  }
  lent.layouts.push_back({.sequence_stride = strides.sequence,
                          .slot_stride = strides.slot,
                          .page_stride = strides.page,
                          .page_size = settings.placement.page_size});
}

void add_layout(const hashevict_memory& m, const Settings& settings, int32_t layer, CacheMemory& lent) {
  if (settings.placement.is_head_major()) {
    add_head_major(m, settings, layer, lent);
  } else {
    add_with_head_stride(m, settings, layer, lent);
  }
  KvLayout& layout = lent.layouts.back();
  const auto first = static_cast<std::ptrdiff_t>(settings.head_index(layer, 0));
  for (auto offset = lent.head_offsets.begin() + first; offset != lent.head_offsets.end(); ++offset) {
    layout.head_offsets |= *offset;
  }
}

void check_keys_and_values(const hashevict_memory& m, const Settings& settings, CacheMemory& lent) {
  require((m.keys == nullptr) == (m.values == nullptr), "memory.{} = NULL: expected keys and values both, or neither",
          m.keys == nullptr ? "keys" : "values");
  require(m.keys != nullptr || !settings.placement.is_paged(),
          "memory.keys = NULL: expected the engine's pages, since config.placement.layout is {}",
          layout_name(settings.placement));
  require(m.head_offsets == nullptr || settings.placement.is_head_major(),
          "memory.head_offsets = {}: expected NULL unless config.placement.layout is HEAD_MAJOR",
          static_cast<const void*>(m.head_offsets));
  require(m.keys != nullptr || (m.head_offsets == nullptr && !gives_strides(m, settings)),
          "memory.keys = NULL: expected lent keys and values where strides or head_offsets are given");
  if (m.keys == nullptr) return;
  const int element = settings.shape.format.element_bytes();
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) {
    for (const auto& [name, list] : {std::pair{"keys", m.keys}, std::pair{"values", m.values}}) {
      require(list[layer] != nullptr, "memory.{}[{}] = NULL: expected a base pointer", name, layer);
      require(reinterpret_cast<uintptr_t>(list[layer]) % static_cast<uintptr_t>(element) == 0,
              "memory.{}[{}] = {}: expected a multiple of the element size {}", name, layer, list[layer], element);
    }
    lent.keys.push_back(m.keys[layer]);
    lent.values.push_back(m.values[layer]);
  }
}

/// Rows of the block table, all layers included.
int64_t table_rows(const Settings& settings) {
  const Shape& shape = settings.shape;
  if (!settings.placement.is_paged_per_head()) return shape.num_sequences;
  return int64_t{shape.num_layers} * shape.num_sequences * shape.num_kv_heads;
}

void check_block_table(const hashevict_memory& m, const Settings& settings, CacheMemory& lent) {
  if (!settings.placement.is_paged()) {
    for (const auto& [name, table] :
         {std::pair{"block_table", m.block_table}, std::pair{"block_table_offsets", m.block_table_offsets}}) {
      require(table == nullptr,
              "memory.{} = {}: expected NULL unless config.placement.layout is PAGED or PAGED_PER_HEAD", name,
              static_cast<const void*>(table));
    }
    return;
  }
  require(m.block_table != nullptr, "memory.block_table = NULL: expected a table, since config.placement.layout is {}",
          layout_name(settings.placement));
  // The pages of a dense pool end within kMaxSpan. The code that reads lent strides checks them against num_pages.
  int64_t most = INT32_MAX;
  if (!gives_strides(m, settings)) {
    most = std::min(most, kMaxSpan / dense_strides(settings, settings.layer(0)).page + 1);
  }
  require_in_range({"memory", "num_pages"}, m.num_pages, 1, most);
  require_aligned({"memory", "block_table"}, m.block_table, alignof(int32_t));
  require_aligned({"memory", "block_table_offsets"}, m.block_table_offsets, alignof(int32_t));
  lent.table.entries = m.block_table;
  lent.table.offsets = m.block_table_offsets;
  lent.table.num_heads = settings.placement.is_paged_per_head() ? settings.shape.num_kv_heads : 0;
  lent.num_pages = m.num_pages;
  if (m.block_table_offsets != nullptr) {
    require_in_range({"memory", "block_table_length"}, m.block_table_length, 1, INT32_MAX,
                     ", the entries behind block_table");
    lent.table.length = m.block_table_length;
    return;
  }
  const int64_t pages = most_pages(settings);
  const int64_t rows = table_rows(settings);
  require_in_range({"memory", "block_table_stride"}, m.block_table_stride, pages, kMaxSpan / rows,
                   settings.placement.is_paged_per_head() ? ", at least the pages of the head with most slots"
                                                          : ", at least the pages of a sequence");
  lent.table.stride = m.block_table_stride;
  lent.table.length = (rows - 1) * m.block_table_stride + pages;
}

/// Groups the layers that share a pool: keys and values of the same base pointers.
void find_pools(const Settings& settings, CacheMemory& lent) {
  if (!settings.placement.is_paged_per_head()) return;
  std::vector<int32_t> order(lent.keys.size());
  std::iota(order.begin(), order.end(), 0);
  const auto keys_of = [&](int32_t layer) {
    return reinterpret_cast<uintptr_t>(lent.keys[static_cast<std::size_t>(layer)]);
  };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return keys_of(a) < keys_of(b); });
  for (const int32_t layer : order) {
    if (lent.pools.empty() || keys_of(lent.pools.back().front()) != keys_of(layer)) lent.pools.emplace_back();
    lent.pools.back().push_back(layer);
    const int32_t first = lent.pools.back().front();
    void* const expected = lent.values[static_cast<std::size_t>(first)];
    require(lent.values[static_cast<std::size_t>(layer)] == expected,
            "memory.values[{}] = {}: expected {}, that of layer {}, since the two layers share their keys", layer,
            lent.values[static_cast<std::size_t>(layer)], expected, first);
  }
}

void* check_part(const char* name, const char* bytes_name, void* pointer, uint64_t given, uint64_t needed) {
  if (pointer == nullptr) return nullptr;
  require_aligned({"memory", name}, pointer, HASHEVICT_ALIGNMENT);
  require_at_least({"memory", bytes_name}, given, needed);
  return pointer;
}

/// Adds the memory of a layer's keys (or values).
void add_slots(const Settings& settings, const CacheMemory& memory, int32_t layer, bool values,
               std::vector<Footprint>& parts) {
  const auto index = static_cast<std::size_t>(layer);
  const KvLayout& layout = memory.layouts[index];
  const Field name{"memory", values ? "values" : "keys", layer};
  const auto* const base = static_cast<const std::byte*>(values ? memory.values[index] : memory.keys[index]);
  const int64_t row = settings.shape.format.row_bytes();
  const Footprint::Axis sequences{layout.sequence_stride, settings.shape.num_sequences};
  if (settings.placement.is_head_major()) {
    for (const HeadRun& run : runs_of(settings, memory, layer, layout.slot_stride)) {
      parts.push_back({name, base + run.offset, row, {{{layout.slot_stride, run.slots}, sequences, {0, 1}}}});
    }
    return;
  }
  const bool paged = settings.placement.is_paged();
  const int64_t slots = paged ? settings.placement.page_size : settings.layer(layer).max_capacity;
  const int32_t heads = settings.placement.has_head_stride() ? settings.shape.num_kv_heads : 1;
  const int64_t head_stride = heads > 1 ? memory.head_offsets[settings.head_index(layer, 1)] : 0;
  parts.push_back({name,
                   base,
                   row,
                   {{{head_stride, heads},
                     {layout.slot_stride, slots},
                     paged ? Footprint::Axis{layout.page_stride, memory.num_pages} : sequences}}});
}

std::vector<Footprint> slots_footprints(const Settings& settings, const CacheMemory& memory) {
  std::vector<Footprint> parts;
  const auto add = [&](int32_t layer) {
    for (const bool values : {false, true}) add_slots(settings, memory, layer, values, parts);
  };
  for (const std::vector<int32_t>& pool : memory.pools) add(pool.front());
  if (!memory.pools.empty() || memory.keys.empty()) return parts;
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) add(layer);
  return parts;
}

Footprint bytes_footprint(const char* name, const void* data, uint64_t bytes) {
  return {{"memory", name}, data, static_cast<int64_t>(bytes)};  // below 2^62, as all sizes are
}

std::array<Footprint, 2> table_footprints(const Settings& settings, const CacheMemory& memory) {
  constexpr uint64_t kEntry = sizeof(int32_t);
  return {bytes_footprint("block_table", memory.table.entries, static_cast<uint64_t>(memory.table.length) * kEntry),
          bytes_footprint("block_table_offsets", memory.table.offsets,
                          (static_cast<uint64_t>(table_rows(settings)) + 1) * kEntry)};
}

}  // namespace

CacheMemory validate_memory(const hashevict_memory* memory, const Settings& settings, uint64_t state_bytes,
                            uint64_t workspace_bytes) {
  hashevict_memory m{};
  if (memory != nullptr) m = read_versioned(memory, "memory");
  drop_zero_strides(m, settings);
  CacheMemory lent;
  check_keys_and_values(m, settings, lent);
  check_block_table(m, settings, lent);
  find_pools(settings, lent);
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) add_layout(m, settings, layer, lent);
  lent.state = check_part("state", "state_bytes", m.state, m.state_bytes, state_bytes);
  lent.workspace = check_part("workspace", "workspace_bytes", m.workspace, m.workspace_bytes, workspace_bytes);
  std::vector<Footprint> parts = slots_footprints(settings, lent);
  for (const Footprint& table : table_footprints(settings, lent)) parts.push_back(table);
  parts.push_back(bytes_footprint("state", lent.state, state_bytes));
  parts.push_back(bytes_footprint("workspace", lent.workspace, workspace_bytes));
  std::erase_if(parts, [](const Footprint& part) { return part.empty(); });
  require_all_apart(parts);
  return lent;
}

OwnMemory own_memory(const CacheMemory& memory, const Settings& settings, uint64_t state_bytes,
                     uint64_t workspace_bytes) {
  OwnMemory own;
  for (const Footprint& part : slots_footprints(settings, memory)) own.written.add(part);
  own.written.add(bytes_footprint("state", memory.state, state_bytes));
  const Footprint workspace = bytes_footprint("workspace", memory.workspace, workspace_bytes);
  own.written.add(workspace);
  own.workspace.add(workspace);
  for (const Footprint& table : table_footprints(settings, memory)) own.tables.add(table);
  for (Ranges* const ranges : {&own.written, &own.workspace, &own.tables}) ranges->sort();
  return own;
}

}  // namespace hashevict::core
