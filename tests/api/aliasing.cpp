// SPDX-License-Identifier: Apache-2.0
// The aliasing rule of hashevict.h: memory that a call writes is its own, memory that it reads may be shared.
#include <algorithm>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;
using OperationOfC = AnyOperation;

/// A used cache and a step of three tokens in one buffer, over which the tests lay tensors.
struct Scene {
  Cache cache = used_cache();
  StepData data{small_config(), 3, 1};
  AnyArgs args = data.args;

  Outcome run(OperationOfC operation) {
    return outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); });
  }
};

void* behind(const hashevict_tensor& tensor, int64_t elements) {
  return static_cast<float*>(tensor.data) + elements;
}

/// The operations of a row, in the order of kAnyOperations.
constexpr unsigned kStores = 1 | 4 | 16;
constexpr unsigned kTakes = 1 | 2 | 4 | 16;
constexpr unsigned kAttends = 1 | 8 | 16;
constexpr unsigned kAll = (1U << kAnyOperations.size()) - 1;

struct Overlap {
  std::string name;
  unsigned operations;
  void (*arrange)(Scene&);
  std::vector<std::string> message;

  friend void PrintTo(const Overlap& row, std::ostream* stream) { *stream << row.name; }
};

const std::vector<Overlap> kRefused{
    {"RowsOfOut",
     kAttends,
     [](Scene& s) { s.args.out.stride[0] = 63; },
     {"args.out.stride[0] = 63", "at least 64", "no two elements share memory"}},
    {"HeadsOfOut",
     kAttends,
     [](Scene& s) { s.args.out.stride[1] = 15; },
     {"args.out.stride[1] = 15", "at least 16", "share memory"}},
    {"RowsOfLse", kAttends, [](Scene& s) { s.args.lse.stride[0] = 3; }, {"args.lse.stride[0] = 3", "at least 4"}},
    {"RowsOfSlots", kTakes, [](Scene& s) { s.args.slots.stride[0] = 1; }, {"args.slots.stride[", "at least "}},
    {"RowsOfVictims", kTakes, [](Scene& s) { s.args.victims.stride[1] = 0; }, {"args.victims.stride[1] = 0"}},
    {"OutOverKeys",
     1 | 16,
     [](Scene& s) { s.args.out.data = s.args.k.data; },
     {"args.out = 0x", "apart from args.k = 0x"}},
    {"OutOverTheLastValue",
     1 | 16,
     [](Scene& s) { s.args.v.data = behind(s.args.out, 3 * 64 - 1); },
     {"args.out = 0x", "apart from args.v"}},
    {"OutOverShiftedQueries",
     kAttends,
     [](Scene& s) { s.args.out.data = behind(s.args.q, 16); },
     {"args.out", "apart from args.q"}},
    {"OutOverQueriesOfOtherStrides",
     kAttends,
     [](Scene& s) {
       s.args.out.data = s.args.q.data;
       s.args.out.stride[0] = 16;
       s.args.out.stride[1] = 48;
     },
     {"args.out", "apart from args.q"}},
    {"OutOverQueriesOfAnotherDtype",
     kAttends,
     [](Scene& s) {
       s.args.out.data = s.args.q.data;
       s.args.q.dtype = HASHEVICT_FLOAT16;
       s.args.out.dtype = HASHEVICT_BFLOAT16;
     },
     {"args.out", "apart from args.q"}},
    {"LseOverOut",
     kAttends,
     [](Scene& s) { s.args.lse.data = behind(s.args.out, 20); },
     {"args.out", "apart from args.lse"}},
    {"LseOverQueries", kAttends, [](Scene& s) { s.args.lse.data = s.args.q.data; }, {"args.lse", "args.q"}},
    {"SlotsOverVictims",
     kTakes,
     [](Scene& s) { s.args.victims = s.args.slots; },
     {"args.slots", "apart from args.victims"}},
    {"SlotsOverKeys", kTakes, [](Scene& s) { s.args.slots.data = s.args.k.data; }, {"args.slots", "args.k"}},
    {"VictimsOverValues", kStores, [](Scene& s) { s.args.victims.data = s.args.v.data; }, {"args.victims", "args.v"}},
    {"SlotsOverRows",
     kTakes,
     [](Scene& s) {
       s.data.set_sequences({0, 1, 2});
       s.args.batch.row_to_sequence = s.data.args.batch.row_to_sequence;
       s.args.slots.data = s.args.batch.row_to_sequence.data;
     },
     {"args.slots", "apart from args.batch.row_to_sequence"}},
    {"VictimsOverOffsets",
     kTakes,
     [](Scene& s) {
       s.data.set_rows({1, 1, 1});
       s.args.batch.cu_seqlens = s.data.args.batch.cu_seqlens;
       s.args.slots = Tensor{};
       s.args.victims.data = s.args.batch.cu_seqlens.data;
     },
     {"args.victims", "apart from args.batch.cu_seqlens"}},
    {"OutOverTheCachesKeys",
     kAttends,
     [](Scene& s) { s.args.out.data = s.cache.view(1, 0).keys.data; },
     {"args.out", "the cache's keys, values, state and workspace"}},
    {"LseOverTheCachesCodes",
     kAttends,
     [](Scene& s) { s.args.lse.data = s.cache.view(0, 0).codes.data; },
     {"args.lse", "the cache's keys, values, state and workspace"}},
    {"SlotsOverTheCachesPositions",
     kTakes,
     [](Scene& s) { s.args.slots.data = s.cache.view(0, 0).positions.data; },
     {"args.slots", "the cache's keys, values, state and workspace"}},
    {"VictimsOverTheCachesCounters",
     kTakes,
     [](Scene& s) { s.args.victims.data = s.cache.view(0, 0).tokens_seen.data; },
     {"args.victims", "the cache's keys, values, state and workspace"}},
    {"KeysWithinTheCachesKeys",
     kTakes,
     [](Scene& s) { s.args.k.data = s.cache.view(0, 0).keys.data; },
     {"args.k", "the cache's keys, values, state and workspace"}},
    {"RowsWithinTheCachesPositions",
     kTakes,
     [](Scene& s) {
       s.args.batch.row_to_sequence = Tensor{s.cache.view(0, 0).lengths.data_as<int32_t>(), {3}};
     },
     {"args.batch.row_to_sequence", "the cache's keys, values, state and workspace"}},
};

class WrittenMemory : public ::testing::TestWithParam<Overlap> {};

TEST_P(WrittenMemory, ThatIsSharedIsRefusedAndChangesNothing) {
  for (size_t i = 0; i < kAnyOperations.size(); ++i) {
    if ((GetParam().operations >> i & 1U) == 0) continue;
    SCOPED_TRACE(::testing::Message() << "operation " << i);
    Scene scene;
    GetParam().arrange(scene);
    const std::vector<std::byte> before = save_all(scene.cache);
    expect_refused(scene.run(kAnyOperations[i]), {kInvalid, GetParam().message});
    EXPECT_TRUE(scene.data.outputs_untouched());
    EXPECT_EQ(save_all(scene.cache), before);
  }
}

INSTANTIATE_TEST_SUITE_P(Overlaps, WrittenMemory, ::testing::ValuesIn(kRefused),
                         [](const auto& info) { return info.param.name; });

const std::vector<Overlap> kAccepted{
    {"OutIsQueries", kAttends, [](Scene& s) { s.args.out = s.args.q; }, {}},
    {"KeysAreValues", kStores, [](Scene& s) { s.args.v = s.args.k; }, {}},
    {"KeysWithinQueries", kAll, [](Scene& s) { s.args.k.data = s.args.v.data = behind(s.args.q, 7); }, {}},
    {"IndexOfOneRowOfAnyStride",
     kAll,
     [](Scene& s) {
       static const std::array<int32_t, 2> offsets{0, 3};
       s.data.set_sequences({1});
       s.args.batch.row_to_sequence = s.data.args.batch.row_to_sequence;
       s.args.batch.row_to_sequence.stride[0] = INT64_MIN;
       s.args.batch.cu_seqlens = Tensor{offsets.data(), {2}};
     },
     {}},
    {"OneRowOfQueriesForAll", kAll, [](Scene& s) { s.args.q.stride[0] = s.args.q.stride[1] = 0; }, {}},
    {"OutBehindQueries",
     kAttends,
     [](Scene& s) {
       static std::vector<float> buffer(2 * 3 * 64, 0.5F);
       s.args.q.data = buffer.data();
       s.args.out.data = buffer.data() + 3 * 64;
     },
     {}},
    {"OutOverTheQueriesOfAFusedBuffer",  // [tokens, 4 query, 2 key and 2 value heads, dim], as in serving engines
     kAttends,
     [](Scene& s) {
       static std::vector<float> buffer(3 * 8 * 16, 0.25F);
       s.args.q.data = s.args.out.data = buffer.data();
       s.args.k.data = buffer.data() + 4 * 16;
       s.args.v.data = buffer.data() + 6 * 16;
       for (hashevict_tensor* const t : {&s.args.q, &s.args.k, &s.args.v, &s.args.out}) t->stride[0] = 8 * 16;
     },
     {}},
    {"LseBetweenTheRowsOfOut",
     kAttends,
     [](Scene& s) {
       static std::vector<float> buffer(3 * 68);
       s.args.out.data = buffer.data();
       s.args.lse.data = buffer.data() + 64;
       s.args.out.stride[0] = s.args.lse.stride[0] = 68;
     },
     {}},
    {"SlotsAndVictimsInterleaved",
     kTakes,
     [](Scene& s) {
       static std::vector<int32_t> buffer(12);
       s.args.slots.data = buffer.data();
       s.args.victims.data = buffer.data() + 1;
       for (hashevict_tensor* const t : {&s.args.slots, &s.args.victims}) {
         t->stride[0] = 4;
         t->stride[1] = 2;
       }
     },
     {}},
};

class SeparateMemory : public ::testing::TestWithParam<Overlap> {};

TEST_P(SeparateMemory, IsAccepted) {
  for (size_t i = 0; i < kAnyOperations.size(); ++i) {
    if ((GetParam().operations >> i & 1U) == 0) continue;
    SCOPED_TRACE(::testing::Message() << "operation " << i);
    Scene scene;
    GetParam().arrange(scene);
    EXPECT_EQ(scene.run(kAnyOperations[i]).status, HASHEVICT_OK);
  }
}

INSTANTIATE_TEST_SUITE_P(Arrangements, SeparateMemory, ::testing::ValuesIn(kAccepted),
                         [](const auto& info) { return info.param.name; });

TEST(SharedMemory, OfAttentionAndTheCachesKeysIsReadOnly) {  // attend changes no state: its inputs may be there
  Scene scene;
  scene.args.q = Tensor{scene.cache.view(0, 0).keys.data_as<float>(), {3, 4, 16}};
  EXPECT_EQ(scene.run(any_attend).status, HASHEVICT_OK);
}

TEST(SharedMemory, OfCodesIsRefused) {
  Scene scene;
  const hashevict_tensor x = Tensor{scene.data.k.data(), {3, 2, 16}};
  std::array<uint8_t, 64> bytes{};
  const auto encode = [&](const hashevict_tensor& codes) {
    return outcome_of([&](hashevict_error* error) {
      return hashevict_encode(scene.cache.handle(), 0, 0, HASHEVICT_ENCODE_KEYS, &x, &codes, error, nullptr);
    });
  };
  EXPECT_EQ(encode(Tensor{bytes.data(), {3, 2, 2}}).status, HASHEVICT_OK);
  expect_refused(encode(Tensor{bytes.data(), {3, 2, 2}, {3, 2, 1}}), {kInvalid, {"codes.stride[0] = 3", "at least 4"}});
  expect_refused(encode(Tensor{static_cast<uint8_t*>(x.data), {3, 2, 2}}), {kInvalid, {"codes = 0x", "apart from x"}});
  expect_refused(encode(Tensor{scene.cache.view(1, 0).codes.data_as<uint8_t>(), {3, 2, 2}}),
                 {kInvalid, {"codes", "the cache's keys"}});
  const hashevict_tensor keys = scene.cache.view(0, 0).keys;  // codes of keys in the cache
  const hashevict_tensor held = Tensor{keys.data, DType::float32, {3, 2, 16}, {16, 320, 1}};
  const hashevict_tensor codes = Tensor{bytes.data(), {3, 2, 2}};
  EXPECT_EQ(outcome_of([&](hashevict_error* error) {
              return hashevict_encode(scene.cache.handle(), 0, 0, HASHEVICT_ENCODE_KEYS, &held, &codes, error, nullptr);
            }).status,
            HASHEVICT_OK);
}

TEST(SharedMemory, OfAProjectionThatIsReadIsRefused) {
  const Cache cache{small_config()};
  std::vector<float> room(256);
  const auto get = [&](const hashevict_tensor& projection) {
    return outcome_of(
        [&](hashevict_error* error) { return hashevict_get_projection(cache.handle(), 0, &projection, error); });
  };
  expect_refused(get(Tensor{room.data(), {16, 16}, {15, 1}}), {kInvalid, {"projection.stride[0] = 15", "at least 16"}});
  expect_refused(get(Tensor{cache.view(0, 0).keys.data_as<float>(), {16, 16}}),
                 {kInvalid, {"projection", "the cache's"}});
  EXPECT_EQ(get(Tensor{room.data(), {16, 16}, {1, 16}}).status, HASHEVICT_OK);
}

TEST(SharedMemory, OfSavedBytesAndTheCacheIsRefused) {
  Cache cache = used_cache();
  std::vector<std::byte> saved = cache.save(0, Stream{});
  std::vector<std::byte> room(cache.save_bytes());
  uint64_t written = 0;
  const auto save = [&](void* buffer, uint64_t* count) {
    return outcome_of([&](hashevict_error* error) {
      return hashevict_save(cache.handle(), 0, buffer, room.size(), count, error, nullptr);
    });
  };
  expect_refused(save(cache.view(0, 0).keys.data, &written), {kInvalid, {"buffer = 0x", "the cache's keys"}});
  expect_refused(save(room.data(), cache.view(0, 0).positions.data_as<uint64_t>()), {kInvalid, {"written = 0x"}});
  expect_refused(save(room.data(), reinterpret_cast<uint64_t*>(room.data())), {kInvalid, {"buffer", "written"}});
  EXPECT_EQ(cache.save(0, Stream{}), saved);
  const View view = cache.view(0, 0);
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_load(cache.handle(), 0, view.codes.data, saved.size(), error, nullptr);
                 }),
                 {kInvalid, {"buffer = 0x", "the cache's keys"}});
}

// -------------------------------------------------------------------------------------------------------- lent memory

/// All memory of a cache of small_config(), in one buffer. Tests move parts over each other.
struct Lent {
  explicit Lent(const Config& given = small_config()) : config{given}, bytes{Cache::required_bytes(config)} {
    buffer.resize(bytes.total + 64 * HASHEVICT_ALIGNMENT);
    auto address = reinterpret_cast<uintptr_t>(buffer.data());
    const auto take = [&](uint64_t size) {
      address = (address + HASHEVICT_ALIGNMENT - 1) / HASHEVICT_ALIGNMENT * HASHEVICT_ALIGNMENT;
      return reinterpret_cast<void*>(std::exchange(address, address + size));
    };
    for (int layer = 0; layer < 2; ++layer) {
      memory.keys.push_back(take(bytes.keys / 2));
      memory.values.push_back(take(bytes.values / 2));
    }
    memory.state = take(memory.state_bytes = bytes.state);
    memory.workspace = take(memory.workspace_bytes = bytes.workspace);
  }

  [[nodiscard]] Outcome create() const {
    const hashevict_config c = c_config_of(config);
    const hashevict_memory m = memory.c_memory(2, 2);
    hashevict_cache* cache = nullptr;
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&c, &m, &cache, error); });
    hashevict_cache_destroy(cache);
    return outcome;
  }

  Config config;
  Bytes bytes;
  std::vector<std::byte> buffer;
  Memory memory;
};

void* moved(void* pointer, int64_t bytes) {
  return static_cast<std::byte*>(pointer) + bytes;
}

using LentCase = Case<void (*)(Lent&)>;

const std::vector<LentCase> kOverlappingParts{
    {"StateIsWorkspace",
     [](Lent& l) { l.memory.state = l.memory.workspace; },
     {kInvalid, {"memory.state = 0x", "memory.workspace = 0x", "apart"}}},
    {"StateOverTheEndOfWorkspace",
     [](Lent& l) { l.memory.state = moved(l.memory.workspace, static_cast<int64_t>(l.bytes.workspace) - 256); },
     {kInvalid, {"memory.workspace", "memory.state"}}},
    {"KeysAreValues",
     [](Lent& l) { l.memory.values[0] = l.memory.keys[0]; },
     {kInvalid, {"memory.keys[0]", "memory.values[0]"}}},
    {"TwoLayersOnOneBase",
     [](Lent& l) { l.memory.keys[1] = l.memory.keys[0]; },
     {kInvalid, {"memory.keys[0]", "memory.keys[1]"}}},
    {"LayersOverlapByOneElement",
     [](Lent& l) { l.memory.values[1] = moved(l.memory.keys[0], static_cast<int64_t>(l.bytes.keys / 2) - 4); },
     {kInvalid, {"memory.keys[0]", "memory.values["}}},
    {"KeysOverState",
     [](Lent& l) { l.memory.keys[1] = moved(l.memory.state, 512); },
     {kInvalid, {"memory.state", "memory.keys[1]"}}},
    {"ValuesOverWorkspace",
     [](Lent& l) { l.memory.values[0] = l.memory.workspace; },
     {kInvalid, {"memory.workspace", "memory.values[0]"}}},
    {"InterleavedSlotsThatMeet",
     [](Lent& l) {
       l.buffer.resize(4 * l.bytes.total);
       l.memory.slot_stride = kFloat * 40;
       l.memory.sequence_strides.assign(2, kFloat * (2 * 20 * 40));
       auto* const base = reinterpret_cast<float*>(l.buffer.data());
       l.memory.keys = {base, base + 4800};
       l.memory.values = {base + 15, base + 4816};
       l.memory.state = l.memory.workspace = nullptr;
     },
     {kInvalid, {"memory.keys[0]", "memory.values[0]"}}},
};

class OverlappingParts : public ::testing::TestWithParam<LentCase> {};

TEST_P(OverlappingParts, OfLentMemoryAreRefused) {
  Lent lent;
  GetParam().action(lent);
  expect_refused(lent.create(), GetParam().refusal);
}

INSTANTIATE_TEST_SUITE_P(Parts, OverlappingParts, ::testing::ValuesIn(kOverlappingParts), CaseName{});

TEST(LentMemory, OfOneBufferIsAccepted) {
  EXPECT_EQ(Lent{}.create().status, HASHEVICT_OK);
}

TEST(LentMemory, LayersMayInterleaveSlotBySlot) {  // [sequence][head][slot][layer][key, value][dim]
  std::vector<float> buffer(3 * 2 * 20 * 2 * 2 * 16);
  Memory memory;
  for (int64_t layer = 0; layer < 2; ++layer) {
    memory.keys.push_back(buffer.data() + layer * 32);
    memory.values.push_back(buffer.data() + layer * 32 + 16);
  }
  memory.slot_stride = kFloat * 64;
  memory.sequence_strides.assign(2, kFloat * (2 * 20 * 64));
  Cache cache{small_config(), memory};
  Cache expected{small_config()};
  for (Cache* const each : {&cache, &expected}) feed(*each, 1, 33, 5);
  EXPECT_EQ(save_all(cache), save_all(expected));
}

TEST(LentMemory,
     PagesOfAllLayersMayInterleave) {  // [page][layer][key, value][head][slot][dim], as serving engines have
  const Config config = small_paged_config();
  PagedMemory lent{config};
  constexpr int64_t kPart = 2 * 8 * 16;
  std::vector<float> buffer(static_cast<size_t>(lent.memory.num_pages * 4 * kPart));
  for (size_t layer = 0; layer < 2; ++layer) {
    lent.memory.keys[layer] = buffer.data() + static_cast<int64_t>(layer) * 2 * kPart;
    lent.memory.values[layer] = buffer.data() + (static_cast<int64_t>(layer) * 2 + 1) * kPart;
  }
  lent.memory.slot_stride = kFloat * 16;
  lent.memory.head_stride = kFloat * (8 * 16);
  lent.memory.page_stride = kFloat * (4 * kPart);
  Cache cache{config, lent.memory};
  Cache expected{small_config()};
  for (Cache* const each : {&cache, &expected}) feed(*each, 1, 33, 5);
  EXPECT_EQ(cache.save(1, Stream{}), expected.save(1, Stream{}));
  std::swap(lent.memory.values[0], lent.memory.values[1]);
  EXPECT_NO_THROW(Cache(config, lent.memory)) << "in any order";
  lent.memory.values[0] = buffer.data() + 1;
  EXPECT_THROW(Cache(config, lent.memory), Error);
}

TEST(LentMemory, BlockTableWithinPagesIsRefused) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  lent.memory.block_table = reinterpret_cast<const int32_t*>(lent.keys[0].data() + 40);
  EXPECT_THROW(Cache(config, lent.memory), Error);
}

TEST(SharedMemory, OfOutputsAndTheBlockTableIsRefused) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  const std::vector<int32_t> before = lent.block_table;
  Cache cache{config, lent.memory};
  StepData data{config, 3, 1};
  data.args.slots = Tensor{lent.block_table.data(), {3, 2}};
  const AnyArgs args = data.args;
  expect_refused(outcome_of([&](hashevict_error* error) { return any_append(cache.handle(), &args, error, nullptr); }),
                 {kInvalid, {"args.slots", "the cache's block table"}});
  EXPECT_EQ(lent.block_table, before);
}

}  // namespace
}  // namespace hashevict::test
