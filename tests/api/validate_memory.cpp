// SPDX-License-Identifier: Apache-2.0
// Every field of lent memory. Memory that does not fit the config is refused before anything is created.
#include <cstring>

#include "support.hpp"

namespace hashevict::test {
namespace {

using MemoryCase = Case<void (*)(hashevict_memory&)>;
constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

alignas(HASHEVICT_ALIGNMENT) std::array<std::byte, 4096> g_small_buffer;
const int32_t g_table[64] = {};

/// Gives all layers one stride between sequences.
void set_sequence_stride(hashevict_memory& m, int64_t stride) {
  static std::array<int64_t, 2> strides;
  strides = {stride, stride};
  m.sequence_strides = strides.data();
}

/// Gives the two heads of all layers offsets.
void set_head_offsets(hashevict_memory& m, int64_t first, int64_t second) {
  static std::array<int64_t, 4> offsets;
  offsets = {first, second, first, second};
  m.head_offsets = offsets.data();
}

void* misaligned(int bytes) {
  return g_small_buffer.data() + bytes;
}

/// Replaces one layer's base pointer.
void set_base(void* const*& list, int layer, void* pointer) {
  static std::array<void*, 2> replaced;
  replaced = {list[0], list[1]};
  replaced[static_cast<size_t>(layer)] = pointer;
  list = replaced.data();
}

void expect_create_refuses(const Config& config, const hashevict_memory& memory, const Refusal& refusal) {
  const hashevict_config c = c_config_of(config);
  auto* cache = reinterpret_cast<hashevict_cache*>(&g_small_buffer);  // create must replace it by NULL
  expect_refused(outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&c, &memory, &cache, error); }),
                 refusal);
  EXPECT_EQ(cache, nullptr);
}

const std::vector<MemoryCase> kBadForAnyLayout{
    {"KeysWithoutValues", [](hashevict_memory& m) { m.values = nullptr; }, {kInvalid, {"memory.values", "NULL"}}},
    {"ValuesWithoutKeys", [](hashevict_memory& m) { m.keys = nullptr; }, {kInvalid, {"memory.keys", "NULL"}}},
    {"LayerWithoutKeys",
     [](hashevict_memory& m) { set_base(m.keys, 1, nullptr); },
     {kInvalid, {"memory.keys[1]", "NULL", "base pointer"}}},
    {"LayerWithoutValues",
     [](hashevict_memory& m) { set_base(m.values, 0, nullptr); },
     {kInvalid, {"memory.values[0]", "NULL", "base pointer"}}},
    {"KeysNotElementAligned",
     [](hashevict_memory& m) { set_base(m.keys, 0, misaligned(2)); },
     {kInvalid, {"memory.keys[0]", "multiple of the element size 4"}}},
    {"ValuesNotElementAligned",
     [](hashevict_memory& m) { set_base(m.values, 1, misaligned(1)); },
     {kInvalid, {"memory.values[1]", "multiple of the element size 4"}}},
    {"StrideThatCutsAnElement",
     [](hashevict_memory& m) {
       m.head_stride = m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
       m.slot_stride = 66;
     },
     {kInvalid, {"memory.slot_stride = 66", "a multiple of 4 from 64 to "}}},
    {"SlotStrideBelowHeadDim",
     [](hashevict_memory& m) {
       m.head_stride = m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
       m.slot_stride = 60;
     },
     {kInvalid, {"memory.slot_stride = 60", "a multiple of 4 from 64 to ", "a row"}}},
    {"SlotStrideHuge",
     [](hashevict_memory& m) {
       m.head_stride = m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
       m.slot_stride = INT64_MAX;
     },
     {kInvalid, {"memory.slot_stride", "9223372036854775807"}}},
    {"AllStridesHuge",
     [](hashevict_memory& m) {
       m.head_stride = m.slot_stride = m.page_stride = INT64_C(1) << 48;
       set_sequence_stride(m, INT64_C(1) << 48);
     },
     {kInvalid, {"_stride = 281474976710656", "a multiple of 4 from 64 to "}}},
    {"StateMisaligned",
     [](hashevict_memory& m) {
       m.state = misaligned(128);
       m.state_bytes = UINT64_MAX;
     },
     {kInvalid, {"memory.state", "multiple of 256"}}},
    {"StateTooSmall",
     [](hashevict_memory& m) {
       m.state = g_small_buffer.data();
       m.state_bytes = 256;
     },
     {kInvalid, {"memory.state_bytes", "256", "at least"}}},
    {"StateWithoutBytes",
     [](hashevict_memory& m) { m.state = g_small_buffer.data(); },
     {kInvalid, {"memory.state_bytes", "= 0", "at least"}}},
    {"WorkspaceMisaligned",
     [](hashevict_memory& m) {
       m.workspace = misaligned(8);
       m.workspace_bytes = UINT64_MAX;
     },
     {kInvalid, {"memory.workspace", "multiple of 256"}}},
    {"WorkspaceTooSmall",
     [](hashevict_memory& m) {
       m.workspace = g_small_buffer.data();
       m.workspace_bytes = 1;
     },
     {kInvalid, {"memory.workspace_bytes", "= 1", "at least"}}},
    {"StructSizeZero", [](hashevict_memory& m) { m.struct_size = 0; }, {kInvalid, {"memory", "struct_size", "= 0"}}},
    {"StructSizeTooSmall",
     [](hashevict_memory& m) { m.struct_size = sizeof m - 8; },
     {kInvalid, {"memory", "struct_size", std::to_string(sizeof(hashevict_memory) - 8)}}},
    {"StructSizeAbsurd",
     [](hashevict_memory& m) { m.struct_size = SIZE_MAX; },
     {kInvalid, {"memory", "struct_size", std::to_string(SIZE_MAX)}}},
};

/// For SLOT_MAJOR and PAGED.
const std::vector<MemoryCase> kBadWithHeadStride{
    {"HeadStrideMissing",
     [](hashevict_memory& m) {
       m.slot_stride = m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
     },
     {kInvalid, {"memory.head_stride", "= 0", "a multiple of 4 from 64 to ", "bytes from those of a row on"}}},
    {"HeadStrideNegative",
     [](hashevict_memory& m) {
       m.slot_stride = m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
       m.head_stride = -kFloat * 16;
     },
     {kInvalid, {"memory.head_stride", "-64", "a multiple of 4 from 64 to ", "a row"}}},
    {"SlotsOfTwoHeadsShareMemory",
     [](hashevict_memory& m) {
       m.head_stride = m.slot_stride = kFloat * 16;
       m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
     },
     {kInvalid, {"memory.", "_stride = 64", "at least ", "share memory"}}},
    {"HeadsWithinASlotOverlapTheNext",
     [](hashevict_memory& m) {
       m.head_stride = kFloat * 16;
       m.slot_stride = kFloat * 31;
       m.page_stride = kFloat * 4096;
       set_sequence_stride(m, kFloat * 4096);
     },
     {kInvalid, {"memory.slot_stride = 124", "at least 128", "share memory"}}},
    {"HeadOffsets",
     [](hashevict_memory& m) { set_head_offsets(m, 0, kFloat * 320); },
     {kInvalid, {"memory.head_offsets = 0x", "NULL", "HEAD_MAJOR"}}},
};

const std::vector<MemoryCase> kBadForStrided{
    {"BlockTable", [](hashevict_memory& m) { m.block_table = g_table; }, {kInvalid, {"memory.block_table", "PAGED"}}},
    {"BlockTableOffsets",
     [](hashevict_memory& m) { m.block_table_offsets = g_table; },
     {kInvalid, {"memory.block_table_offsets = 0x", "NULL", "PAGED"}}},
    {"SequenceStridesMissing",
     [](hashevict_memory& m) { m.slot_stride = kFloat * 16; },
     {kInvalid, {"memory.sequence_strides = NULL", "each layer"}}},
    {"SequenceStrideZero",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 16;
       set_sequence_stride(m, 0);
     },
     {kInvalid, {"memory.sequence_strides[0] = 0", "a multiple of 4 from 64 to ", "a row"}}},
    {"SlotStrideMissing",
     [](hashevict_memory& m) { set_sequence_stride(m, kFloat * 640); },
     {kInvalid, {"memory.slot_stride = 0", "a multiple of 4 from 64 to ", "a row"}}},
    {"HeadOffsetNegative",
     [](hashevict_memory& m) { set_head_offsets(m, -4, 0); },
     {kInvalid, {"memory.head_offsets[0][0] = -4", "a multiple of 4 from 0 to "}}},
    {"HeadOffsetThatCutsAnElement",
     [](hashevict_memory& m) { set_head_offsets(m, 0, kFloat * 320 + 2); },
     {kInvalid, {"memory.head_offsets[0][1] = 1282", "a multiple of 4"}}},
    {"HeadOffsetHuge",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 16;
       set_sequence_stride(m, kFloat * 640);
       set_head_offsets(m, 0, (INT64_C(1) << 48) + 4);
     },
     {kInvalid, {"memory.head_offsets[0][1] = 281474976710660", "0 to 281474976710656"}}},
    {"HeadOffsetWithoutRoomForTheNextSequences",
     [](hashevict_memory& m) { set_head_offsets(m, 0, INT64_C(1) << 48); },
     {kInvalid, {"memory.head_offsets[0][1] = 281474976710656", "0 to 140737488354048"}}},
    {"SlotsOfAHeadOverlapTheNext",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 16;
       set_head_offsets(m, 0, kFloat * (20 * 16 - 1));
       set_sequence_stride(m, kFloat * 4096);
     },
     {kInvalid, {"memory.head_offsets[0][0] = 0x", "apart from memory.head_offsets[0][1] = 0x"}}},
    {"SequencesOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 40;
       set_sequence_stride(m, kFloat * (39 * 40 + 16 - 1));
     },
     {kInvalid, {"memory.sequence_strides[0] = 6300", "at least 6304", "share memory"}}},
    {"SequencesOfTwoHeadsOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 40;
       set_head_offsets(m, 0, kFloat * 1000);
       set_sequence_stride(m, kFloat * (1000 + 16 - 1));
     },
     {kInvalid, {"memory.head_offsets[0][0] = 0x", "apart from memory.head_offsets[0][1] = 0x"}}},
    {"SequencesWithinSlotsOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * (3 * 16 - 8);
       set_sequence_stride(m, kFloat * 16);
     },
     {kInvalid, {"memory.slot_stride = 160", "at least 192", "share memory"}}},
    {"StridesWithoutKeys",
     [](hashevict_memory& m) {
       m.keys = m.values = nullptr;
       m.slot_stride = kFloat * 16;
       set_sequence_stride(m, kFloat * 640);
     },
     {kInvalid, {"memory.keys", "NULL", "strides"}}},
    {"HeadOffsetsWithoutKeys",
     [](hashevict_memory& m) {
       m.keys = m.values = nullptr;
       set_head_offsets(m, 0, kFloat * 320);
     },
     {kInvalid, {"memory.keys", "NULL", "head_offsets"}}},
};

const std::vector<MemoryCase> kBadForPaged{
    {"NoKeys", [](hashevict_memory& m) { m.keys = m.values = nullptr; }, {kInvalid, {"memory.keys", "NULL", "PAGED"}}},
    {"NoBlockTable",
     [](hashevict_memory& m) { m.block_table = nullptr; },
     {kInvalid, {"memory.block_table", "NULL", "PAGED"}}},
    {"NoPages", [](hashevict_memory& m) { m.num_pages = 0; }, {kInvalid, {"memory.num_pages", "= 0", "1 to"}}},
    {"PagesNegative", [](hashevict_memory& m) { m.num_pages = -7; }, {kInvalid, {"memory.num_pages", "-7", "1 to"}}},
    {"PagesBeyondInt32",
     [](hashevict_memory& m) { m.num_pages = INT64_C(1) << 31; },
     {kInvalid, {"memory.num_pages", "2147483648", "1 to"}}},
    {"TableRowTooShort",
     [](hashevict_memory& m) { m.block_table_stride = 2; },
     {kInvalid, {"memory.block_table_stride", "2", "3 to 93824992236885"}}},
    {"TableStrideNegative",
     [](hashevict_memory& m) { m.block_table_stride = -3; },
     {kInvalid, {"memory.block_table_stride", "-3", "3 to 93824992236885"}}},
    {"TableMisaligned",
     [](hashevict_memory& m) { m.block_table = static_cast<const int32_t*>(misaligned(2)); },
     {kInvalid, {"memory.block_table = 0x", "multiple of 4"}}},
    {"OffsetsMisaligned",
     [](hashevict_memory& m) {
       m.block_table_offsets = static_cast<const int32_t*>(misaligned(1));
       m.block_table_length = 33;
     },
     {kInvalid, {"memory.block_table_offsets = 0x", "multiple of 4"}}},
    {"OffsetsWithoutALength",
     [](hashevict_memory& m) { m.block_table_offsets = g_table; },
     {kInvalid, {"memory.block_table_length = 0", "1 to 2147483647"}}},
    {"PagesOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 16;
       m.head_stride = kFloat * (8 * 16);
       m.page_stride = kFloat * (2 * 8 * 16 - 1);
     },
     {kInvalid, {"memory.page_stride = 1020", "at least 1024", "share memory"}}},
    {"PageStrideMissing",
     [](hashevict_memory& m) {
       m.head_stride = kFloat * 128;
       m.slot_stride = kFloat * 16;
     },
     {kInvalid, {"memory.page_stride", "= 0", "a multiple of 4 from 64 to ", "a row"}}},
};

const std::vector<MemoryCase> kBadForHeadPages{
    {"NoKeys",
     [](hashevict_memory& m) { m.keys = m.values = nullptr; },
     {kInvalid, {"memory.keys", "NULL", "PAGED_PER_HEAD"}}},
    {"NoBlockTable",
     [](hashevict_memory& m) { m.block_table = nullptr; },
     {kInvalid, {"memory.block_table", "NULL", "PAGED_PER_HEAD"}}},
    {"NoPages", [](hashevict_memory& m) { m.num_pages = 0; }, {kInvalid, {"memory.num_pages", "= 0", "1 to"}}},
    {"TableRowTooShort",  // the head with most slots has 40, in 5 pages; 2 layers, 3 sequences, 2 heads
     [](hashevict_memory& m) { m.block_table_stride = 4; },
     {kInvalid, {"memory.block_table_stride", "4", "5 to 23456248059221", "the head with most slots"}}},
    {"TableRowTooLong",
     [](hashevict_memory& m) { m.block_table_stride = INT64_C(23456248059222); },
     {kInvalid, {"memory.block_table_stride", "23456248059222", "5 to 23456248059221"}}},
    {"OffsetsWithoutALength",
     [](hashevict_memory& m) { m.block_table_offsets = g_table; },
     {kInvalid, {"memory.block_table_length = 0", "1 to 2147483647"}}},
    {"PagesOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = kFloat * 16;
       m.page_stride = kFloat * (8 * 16 - 1);
     },
     {kInvalid, {"memory.page_stride = 508", "at least 512", "share memory"}}},
    {"PageStrideMissing",
     [](hashevict_memory& m) { m.slot_stride = kFloat * 16; },
     {kInvalid, {"memory.page_stride", "= 0", "a multiple of 4 from 64 to ", "a row"}}},
    {"HeadOffsets",
     [](hashevict_memory& m) { set_head_offsets(m, 0, kFloat * 320); },
     {kInvalid, {"memory.head_offsets = 0x", "NULL", "HEAD_MAJOR"}}},
    {"SharedKeysWithOtherValues",
     [](hashevict_memory& m) { set_base(m.values, 1, misaligned(0)); },
     {kInvalid, {"memory.values[1] = 0x", "that of layer 0", "share their keys"}}},
    {"SharedValuesWithOtherKeys",
     [](hashevict_memory& m) { set_base(m.keys, 1, misaligned(0)); },
     {kInvalid, {"memory.values[", "apart from memory.values["}}},
    {"ValuesThatAreKeys",
     [](hashevict_memory& m) { m.values = m.keys; },
     {kInvalid, {"memory.", "apart from memory."}}},
};

class BadMemory : public ::testing::TestWithParam<MemoryCase> {};
class BadStridedMemory : public BadMemory {};
class BadPagedMemory : public BadMemory {};
class BadMemoryOfHeadPages : public BadMemory {};
class BadMemoryWithHeadStride : public BadMemory {};

/// Dense keys and values of small_config().
struct StridedMemory {
  StridedMemory() : keys(2 * 3 * 2 * 20 * 16), values(keys) {
    memory.keys = {keys.data(), keys.data() + keys.size() / 2};
    memory.values = {values.data(), values.data() + values.size() / 2};
  }
  std::vector<float> keys, values;
  Memory memory;
};

void refuse_strided(const MemoryCase& row, Layout layout) {
  Config config = small_config();
  config.placement.layout = layout;
  const StridedMemory lent;
  hashevict_memory memory = lent.memory.c_memory(2, 2);
  row.action(memory);
  expect_create_refuses(config, memory, row.refusal);
}

void refuse_paged(const MemoryCase& row, const Config& config = small_paged_config()) {
  const PagedMemory lent{config};
  hashevict_memory memory = lent.memory.c_memory(2, 2);
  row.action(memory);
  expect_create_refuses(config, memory, row.refusal);
}

TEST_P(BadMemory, IsRefusedForStridedLayouts) {
  for (const Layout layout : {Layout::head_major, Layout::slot_major}) refuse_strided(GetParam(), layout);
}
TEST_P(BadMemory, IsRefusedForPagedLayout) {
  refuse_paged(GetParam());
}
TEST_P(BadStridedMemory, IsRefused) {
  refuse_strided(GetParam(), Layout::head_major);
}
TEST_P(BadMemoryWithHeadStride, IsRefused) {
  refuse_strided(GetParam(), Layout::slot_major);
  refuse_paged(GetParam());
}
TEST_P(BadPagedMemory, IsRefused) {
  refuse_paged(GetParam());
}
TEST_P(BadMemoryOfHeadPages, IsRefused) {
  refuse_paged(GetParam(), small_config_of_head_pages());
}

INSTANTIATE_TEST_SUITE_P(Fields, BadMemory, ::testing::ValuesIn(kBadForAnyLayout), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadStridedMemory, ::testing::ValuesIn(kBadForStrided), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadMemoryWithHeadStride, ::testing::ValuesIn(kBadWithHeadStride), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadPagedMemory, ::testing::ValuesIn(kBadForPaged), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadMemoryOfHeadPages, ::testing::ValuesIn(kBadForHeadPages), CaseName{});

TEST(Memory, UnchangedIsAccepted) {
  const StridedMemory strided;
  EXPECT_NO_THROW(Cache(small_config(), strided.memory));
  const PagedMemory paged{small_paged_config()};
  EXPECT_NO_THROW(Cache(small_paged_config(), paged.memory));
  const PagedMemory head_pages{small_config_of_head_pages()};
  EXPECT_NO_THROW(Cache(small_config_of_head_pages(), head_pages.memory));
}

struct Strides {
  int64_t slot, head, outer;
};

TEST(Memory, StridesThatKeepSlotsApartAreAccepted) {
  std::vector<float> buffer(4 << 13);
  for (const Strides strides : {Strides{16, 320, 640},
                                {32, 16, 640},
                                {96, 48, 16},
                                {32, 640, 1280},
                                {64, 32, 1280},
                                {40, 1000, 1776},
                                {16, 330, 700}}) {
    Memory memory;
    memory.keys = {buffer.data(), buffer.data() + (1 << 13)};
    memory.values = {buffer.data() + (2 << 13), buffer.data() + (3 << 13)};
    memory.slot_stride = kFloat * strides.slot;
    memory.head_offsets = {0, kFloat * strides.head, 0, kFloat * strides.head};
    memory.sequence_strides.assign(2, kFloat * strides.outer);
    EXPECT_NO_THROW(Cache(small_config(), memory)) << strides.slot << ", " << strides.head << ", " << strides.outer;
  }
}

TEST(Memory, StridesThatAreAllZeroAreNone) {
  for (const Layout layout : {Layout::head_major, Layout::slot_major}) {
    Config config = small_config();
    config.placement.layout = layout;
    StridedMemory strided;
    strided.memory.slot_stride = strided.memory.head_stride = 0;
    strided.memory.sequence_strides = {0, 0};
    const Cache cache{config, strided.memory};
    EXPECT_EQ(cache.view(1, 0).keys.stride[0], 2 * 20 * 16);
    EXPECT_NO_THROW(Cache(config, [] {
      Memory none;
      none.sequence_strides = {0, 0};
      return none;
    }()));
  }
}

/// A stride between slots that is as long as all slots may be. The sum over heads would exceed 64 bits.
TEST(Memory, SlotStrideIsBoundedOverAllHeads) {
  Config config = small_config();
  config.shape.num_sequences = config.shape.num_layers = 1;
  config.shape.num_qo_heads = config.shape.num_kv_heads = 1 << 14;
  config.shape.capacity = 2;
  config.rule.num_sink_tokens = config.rule.recent_window = 0;
  std::array<float, 32> buffer;
  Memory memory;
  memory.keys = {buffer.data()};
  memory.values = {buffer.data() + 16};
  memory.slot_stride = INT64_C(1) << 48;
  memory.sequence_strides = {kFloat * 16};
  try {
    const Cache cache{config, memory};
    FAIL() << "the cache was created";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("memory.slot_stride = 281474976710656"));
  }
}

TEST(Memory, OfSlotMajorTakesAHeadStride) {
  Config config = small_config();
  config.placement.layout = Layout::slot_major;
  std::vector<float> buffer(4 << 13);
  for (const Strides strides : {Strides{32, 16, 640}, {96, 48, 16}, {40, 1000, 1776}}) {
    Memory memory;
    memory.keys = {buffer.data(), buffer.data() + (1 << 13)};
    memory.values = {buffer.data() + (2 << 13), buffer.data() + (3 << 13)};
    memory.slot_stride = kFloat * strides.slot;
    memory.head_stride = kFloat * strides.head;
    memory.sequence_strides.assign(2, kFloat * strides.outer);
    EXPECT_NO_THROW(Cache(config, memory)) << strides.slot << ", " << strides.head << ", " << strides.outer;
  }
}

TEST(Memory, OfRaggedHeadsMayBePackedInAnyOrder) {
  Config config = small_config();
  config.shape.capacities = {15, 30, 16, 20};
  std::vector<float> buffer(4 * 3 * 45 * 16);
  Memory memory;
  for (int part = 0; part < 4; ++part) {
    (part < 2 ? memory.keys : memory.values).push_back(buffer.data() + part * 3 * 45 * 16);
  }
  memory.head_offsets = {kFloat * 30 * 16, 0, 0, kFloat * 16 * 16};
  EXPECT_NO_THROW(Cache(config, memory));
  memory.head_offsets[1] = kFloat * 16;  // one slot too far: head 1 ends within head 0
  try {
    const Cache cache{config, memory};
    FAIL() << "heads that share a slot were accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("apart from memory.head_offsets[0][0]"));
  }
}

TEST(Memory, StrideOfASingleHeadOrSequenceMayBeAnyOther) {
  Config config = small_config();
  config.shape.num_sequences = config.shape.num_kv_heads = 1;
  std::vector<float> buffer(4 * 20 * 16);
  Memory memory;
  memory.keys = {buffer.data(), buffer.data() + 320};
  memory.values = {buffer.data() + 640, buffer.data() + 960};
  memory.slot_stride = kFloat * 16;
  memory.sequence_strides.assign(2, kFloat * 16);
  EXPECT_NO_THROW(Cache(config, memory));
}

TEST(Memory, StrideThatTheLayoutDoesNotUseMayBeAnything) {
  for (const int64_t unused : {int64_t{-7}, int64_t{1}, int64_t{12345}, INT64_MAX}) {
    StridedMemory strided;
    strided.memory.page_stride = strided.memory.head_stride = unused;
    Cache dense{small_config(), strided.memory};
    EXPECT_EQ(dense.view(0, 0).keys.stride[0], 2 * 20 * 16);
    strided.memory = Memory{};
    strided.memory.page_stride = unused;
    EXPECT_NO_THROW(Cache(small_config(), strided.memory)) << "no stride in use is given, so none is without keys";
    PagedMemory paged{small_paged_config()};
    paged.memory.sequence_strides = {unused, unused};
    Cache pages{small_paged_config(), paged.memory};
    EXPECT_EQ(pages.view(0, 1).keys.stride[0], 2 * 8 * 16);
    feed(pages, 1, 25, 3);
    PagedMemory of_heads{small_config_of_head_pages()};
    of_heads.memory.sequence_strides = {unused, unused};
    of_heads.memory.head_stride = unused;
    const Cache of_head_pages{small_config_of_head_pages(), of_heads.memory};
    EXPECT_EQ(of_head_pages.view(0, 1).keys.stride[0], 8 * 16);
  }
}

TEST(Memory, LongerStructWithAnUnknownFieldSetIsRefused) {
  struct {
    hashevict_memory known;
    uint64_t unknown;
  } memory{};
  hashevict_memory_init(&memory.known);
  memory.known.struct_size = sizeof memory;
  const hashevict_config config = small_c_config();
  hashevict_cache* cache = nullptr;
  const auto create = [&](hashevict_error* error) {
    return hashevict_cache_create(&config, &memory.known, &cache, error);
  };
  EXPECT_EQ(outcome_of(create).status, HASHEVICT_OK);
  hashevict_cache_destroy(cache);
  memory.unknown = 1;
  expect_refused(outcome_of(create), {kInvalid, {"memory", "struct_size", std::to_string(sizeof memory)}});
  EXPECT_EQ(cache, nullptr);
}

TEST(Memory, VectorsOfOtherLengthsThanTheLayersAreRefused) {
  StridedMemory lent;
  lent.memory.keys.pop_back();
  try {
    const Cache cache{small_config(), lent.memory};
    FAIL() << "one pointer too few was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_THAT(error.what(),
                ::testing::HasSubstr("memory.keys.size() = 1: expected 0 or config.shape.num_layers = 2"));
  }
}

}  // namespace
}  // namespace hashevict::test
