// SPDX-License-Identifier: Apache-2.0
// Every field of lent memory: what does not fit the config is refused before anything is made.
#include <cstring>

#include "support.hpp"

namespace hashevict::test {
namespace {

using MemoryCase = Case<void (*)(hashevict_memory&)>;
constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

alignas(HASHEVICT_ALIGNMENT) std::array<std::byte, 4096> g_small_buffer;
const int32_t g_table[64] = {};

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
  const hashevict_config c = config.c_config();
  auto* cache = reinterpret_cast<hashevict_cache*>(&g_small_buffer);  // must be replaced by NULL
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
    {"HeadStrideMissing",
     [](hashevict_memory& m) { m.slot_stride = m.sequence_stride = m.page_stride = 4096; },
     {kInvalid, {"memory.head_stride", "= 0", "head_dim = 16"}}},
    {"HeadStrideNegative",
     [](hashevict_memory& m) {
       m.slot_stride = m.sequence_stride = m.page_stride = 4096;
       m.head_stride = -16;
     },
     {kInvalid, {"memory.head_stride", "-16", "head_dim = 16"}}},
    {"SlotStrideBelowHeadDim",
     [](hashevict_memory& m) {
       m.head_stride = m.sequence_stride = m.page_stride = 4096;
       m.slot_stride = 15;
     },
     {kInvalid, {"memory.slot_stride", "15", "head_dim = 16"}}},
    {"SlotStrideHuge",
     [](hashevict_memory& m) {
       m.head_stride = m.sequence_stride = m.page_stride = 4096;
       m.slot_stride = INT64_MAX;
     },
     {kInvalid, {"memory.slot_stride", "9223372036854775807"}}},
    {"SlotsOfTwoHeadsShareMemory",
     [](hashevict_memory& m) {
       m.head_stride = m.slot_stride = 16;
       m.sequence_stride = m.page_stride = 4096;
     },
     {kInvalid, {"memory.", "_stride = 16", "at least ", "share memory"}}},
    {"HeadsWithinASlotOverlapTheNext",
     [](hashevict_memory& m) {
       m.head_stride = 16;
       m.slot_stride = 31;
       m.sequence_stride = m.page_stride = 4096;
     },
     {kInvalid, {"memory.slot_stride = 31", "at least 32", "share memory"}}},
    {"AllStridesHuge",
     [](hashevict_memory& m) { m.head_stride = m.slot_stride = m.sequence_stride = m.page_stride = INT64_C(1) << 48; },
     {kInvalid, {"_stride = 281474976710656", "at least 2814749767106", "share memory"}}},
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

const std::vector<MemoryCase> kBadForStrided{
    {"BlockTable", [](hashevict_memory& m) { m.block_table = g_table; }, {kInvalid, {"memory.block_table", "PAGED"}}},
    {"BlockTableOffsets",
     [](hashevict_memory& m) { m.block_table_offsets = g_table; },
     {kInvalid, {"memory.block_table_offsets = 0x", "NULL", "PAGED"}}},
    {"SequenceStrideMissing",
     [](hashevict_memory& m) {
       m.head_stride = 320;
       m.slot_stride = 16;
     },
     {kInvalid, {"memory.sequence_stride", "= 0", "head_dim = 16"}}},
    {"SlotsOfAHeadOverlapTheNext",
     [](hashevict_memory& m) {
       m.slot_stride = 16;
       m.head_stride = 20 * 16 - 1;
       m.sequence_stride = 4096;
     },
     {kInvalid, {"memory.head_stride = 319", "at least 320", "share memory"}}},
    {"SequencesOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = 40;
       m.head_stride = 1000;
       m.sequence_stride = 1000 + 19 * 40 + 16 - 1;
     },
     {kInvalid, {"memory.sequence_stride = 1775", "at least 1776", "share memory"}}},
    {"SequencesWithinSlotsOverlap",
     [](hashevict_memory& m) {
       m.sequence_stride = 16;
       m.slot_stride = 3 * 16 - 8;
       m.head_stride = 4096;
     },
     {kInvalid, {"memory.slot_stride = 40", "at least 48", "share memory"}}},
    {"StridesWithoutKeys",
     [](hashevict_memory& m) {
       m.keys = m.values = nullptr;
       m.head_stride = 320;
       m.slot_stride = 16;
       m.sequence_stride = 640;
     },
     {kInvalid, {"memory.keys", "NULL", "strides"}}},
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
     {kInvalid, {"memory.block_table_stride", "2", "at least 3"}}},
    {"TableStrideNegative",
     [](hashevict_memory& m) { m.block_table_stride = -3; },
     {kInvalid, {"memory.block_table_stride", "-3", "at least 3"}}},
    {"PagesOverlap",
     [](hashevict_memory& m) {
       m.slot_stride = 16;
       m.head_stride = 8 * 16;
       m.page_stride = 2 * 8 * 16 - 1;
     },
     {kInvalid, {"memory.page_stride = 255", "at least 256", "share memory"}}},
    {"PageStrideMissing",
     [](hashevict_memory& m) {
       m.head_stride = 128;
       m.slot_stride = 16;
     },
     {kInvalid, {"memory.page_stride", "= 0", "head_dim = 16"}}},
};

class BadMemory : public ::testing::TestWithParam<MemoryCase> {};
class BadStridedMemory : public BadMemory {};
class BadPagedMemory : public BadMemory {};

/// Dense keys and values of small_config(), lent.
struct StridedMemory {
  StridedMemory() : keys(2 * 3 * 2 * 20 * 16), values(keys) {
    memory.keys = {keys.data(), keys.data() + keys.size() / 2};
    memory.values = {values.data(), values.data() + values.size() / 2};
  }
  std::vector<float> keys, values;
  Memory memory;
};

void refuse_strided(const MemoryCase& row) {
  const StridedMemory lent;
  hashevict_memory memory = lent.memory.c_memory(2);
  row.action(memory);
  expect_create_refuses(small_config(), memory, row.refusal);
}

void refuse_paged(const MemoryCase& row) {
  const Config config = small_paged_config();
  const PagedMemory lent{config};
  hashevict_memory memory = lent.memory.c_memory(2);
  row.action(memory);
  expect_create_refuses(config, memory, row.refusal);
}

TEST_P(BadMemory, IsRefusedForStridedLayout) {
  refuse_strided(GetParam());
}
TEST_P(BadMemory, IsRefusedForPagedLayout) {
  refuse_paged(GetParam());
}
TEST_P(BadStridedMemory, IsRefused) {
  refuse_strided(GetParam());
}
TEST_P(BadPagedMemory, IsRefused) {
  refuse_paged(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Fields, BadMemory, ::testing::ValuesIn(kBadForAnyLayout), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadStridedMemory, ::testing::ValuesIn(kBadForStrided), CaseName{});
INSTANTIATE_TEST_SUITE_P(Fields, BadPagedMemory, ::testing::ValuesIn(kBadForPaged), CaseName{});

TEST(Memory, UnchangedIsAccepted) {
  const StridedMemory strided;
  EXPECT_NO_THROW(Cache(small_config(), strided.memory));
  const PagedMemory paged{small_paged_config()};
  EXPECT_NO_THROW(Cache(small_paged_config(), paged.memory));
}

struct Strides {
  int64_t slot, head, outer;
};

TEST(Memory, StridesThatKeepSlotsApartAreAccepted) {
  std::vector<float> keys(1 << 13);
  std::vector<float> values(keys);
  for (const Strides strides : {Strides{16, 320, 640},
                                {32, 16, 640},
                                {96, 48, 16},
                                {32, 640, 1280},
                                {64, 32, 1280},
                                {40, 1000, 1776},
                                {16, 330, 700}}) {
    Memory memory;
    memory.keys.assign(2, keys.data());
    memory.values.assign(2, values.data());
    memory.slot_stride = strides.slot;
    memory.head_stride = strides.head;
    memory.sequence_stride = strides.outer;
    EXPECT_NO_THROW(Cache(small_config(), memory)) << strides.slot << ", " << strides.head << ", " << strides.outer;
  }
}

TEST(Memory, StrideOfASingleHeadOrSequenceMayBeAnyOther) {
  Config config = small_config();
  config.num_sequences = config.num_kv_heads = 1;
  std::vector<float> keys(20 * 16);
  std::vector<float> values(keys);
  Memory memory;
  memory.keys.assign(2, keys.data());
  memory.values.assign(2, values.data());
  memory.slot_stride = memory.head_stride = memory.sequence_stride = 16;
  EXPECT_NO_THROW(Cache(config, memory));
}

TEST(Memory, StrideThatTheLayoutDoesNotUseMayBeAnything) {
  for (const int64_t unused : {int64_t{-7}, int64_t{1}, int64_t{12345}, INT64_MAX}) {
    StridedMemory strided;
    strided.memory.page_stride = unused;
    Cache dense{small_config(), strided.memory};
    EXPECT_EQ(dense.view(0).keys.stride[0], 2 * 20 * 16);
    strided.memory = Memory{};
    strided.memory.page_stride = unused;
    EXPECT_NO_THROW(Cache(small_config(), strided.memory)) << "no stride in use is given, so none is without keys";
    PagedMemory paged{small_paged_config()};
    paged.memory.sequence_stride = unused;
    Cache pages{small_paged_config(), paged.memory};
    EXPECT_EQ(pages.view(0).keys.stride[0], 2 * 8 * 16);
    feed(pages, 1, 25, 3);
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
    EXPECT_THAT(error.what(), ::testing::HasSubstr("keys.size() = 1: expected num_layers = 2"));
  }
}

}  // namespace
}  // namespace hashevict::test
