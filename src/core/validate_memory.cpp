// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>

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
    default:
      return {layer.num_slots * row, 0, row, 0};
  }
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
          placement.is_head_major() ? 0 : m.head_stride, m.slot_stride, placement.is_paged() ? m.page_stride : 0};
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

/// Adds the layout of a layer whose heads are a stride apart.
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
        {Axis{{"memory", "head_stride"}, strides.head, settings.shape.num_kv_heads},
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
          "memory.keys = NULL: expected the engine's pages, since config.placement.layout is PAGED");
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

void check_block_table(const hashevict_memory& m, const Settings& settings, CacheMemory& lent) {
  if (!settings.placement.is_paged()) {
    for (const auto& [name, table] :
         {std::pair{"block_table", m.block_table}, std::pair{"block_table_offsets", m.block_table_offsets}}) {
      require(table == nullptr, "memory.{} = {}: expected NULL unless config.placement.layout is PAGED", name,
              static_cast<const void*>(table));
    }
    return;
  }
  require(m.block_table != nullptr,
          "memory.block_table = NULL: expected a table, since config.placement.layout is PAGED");
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
  lent.num_pages = m.num_pages;
  if (m.block_table_offsets != nullptr) {
    require_in_range({"memory", "block_table_length"}, m.block_table_length, 1, INT32_MAX,
                     ", the entries behind block_table");
    lent.table.length = m.block_table_length;
    return;
  }
  const int64_t pages = most_pages(settings);
  require_in_range({"memory", "block_table_stride"}, m.block_table_stride, pages,
                   kMaxSpan / settings.shape.num_sequences, ", at least the pages of a sequence");
  lent.table.stride = m.block_table_stride;
  lent.table.length = (settings.shape.num_sequences - 1) * m.block_table_stride + pages;
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
  const int32_t heads = settings.shape.num_kv_heads;
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
  for (int32_t layer = 0; !memory.keys.empty() && layer < settings.shape.num_layers; ++layer) {
    for (const bool values : {false, true}) add_slots(settings, memory, layer, values, parts);
  }
  return parts;
}

Footprint bytes_footprint(const char* name, const void* data, uint64_t bytes) {
  return {{"memory", name}, data, static_cast<int64_t>(bytes)};  // below 2^62, as all sizes are
}

std::array<Footprint, 2> table_footprints(const Settings& settings, const CacheMemory& memory) {
  constexpr uint64_t kEntry = sizeof(int32_t);
  return {bytes_footprint("block_table", memory.table.entries, static_cast<uint64_t>(memory.table.length) * kEntry),
          bytes_footprint("block_table_offsets", memory.table.offsets,
                          (static_cast<uint64_t>(settings.shape.num_sequences) + 1) * kEntry)};
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

int32_t most_pages(const Settings& settings) {
  int32_t pages = 0;
  for (const LayerSettings& layer : settings.layers) {
    if (settings.placement.is_paged())
      pages = std::max(pages, num_parts(layer.max_capacity, settings.placement.page_size));
  }
  return pages;
}

void validate_pages(const Settings& settings, const CacheMemory& memory, int32_t sequence, int32_t num_slots) {
  if (!settings.placement.is_paged()) return;
  const int32_t pages = num_parts(num_slots, settings.placement.page_size);
  if (memory.table.offsets != nullptr) {
    const int64_t begin = memory.table.offsets[sequence];
    const int64_t end = memory.table.offsets[sequence + 1];
    require(begin >= 0 && end <= memory.table.length && end - begin >= pages,
            "memory.block_table_offsets[{}] = {}, [{}] = {}: expected {} pages or more for sequence {}, within the {} "
            "entries of memory.block_table_length",
            sequence, begin, sequence + 1, end, pages, sequence, memory.table.length);
  }
  const int32_t* const row = block_table_row(memory.table, sequence);
  for (int32_t i = 0; i < pages; ++i) {
    if (row[i] >= 0 && row[i] < memory.num_pages) continue;
    fail(HASHEVICT_INVALID_ARGUMENT, "memory.block_table[sequence {}][{}] = {}: expected 0 to {}", sequence, i, row[i],
         memory.num_pages - 1);
  }
}

void validate_fork_pages(const Settings& settings, const CacheMemory& memory, int32_t source, int32_t target,
                         int32_t num_slots, std::span<int32_t> scratch) {
  validate_pages(settings, memory, source, num_slots);
  validate_pages(settings, memory, target, num_slots);
  if (!settings.placement.is_paged()) return;
  const int32_t count = num_parts(num_slots, settings.placement.page_size);
  const int32_t* const pages = block_table_row(memory.table, target);
  const auto end = std::copy_n(block_table_row(memory.table, source), count, scratch.begin());
  std::sort(scratch.begin(), end);
  for (int32_t i = 0; i < count; ++i) {
    if (!std::binary_search(scratch.begin(), end, pages[i])) continue;
    fail(HASHEVICT_INVALID_ARGUMENT,
         "memory.block_table[sequence {}][{}] = {}: expected a page for the target that is not one of the {} that "
         "sequence {}, the source, has in use",
         target, i, pages[i], count, source);
  }
}

}  // namespace hashevict::core
