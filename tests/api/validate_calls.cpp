// SPDX-License-Identifier: Apache-2.0
// Arguments of the calls that take no batch: null pointers, layers, sequences, tensors, sizes. c_abi.c passes
// enumerators that do not exist, since C++ has no value for most of them.
#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

/// A used cache and valid arguments for every call. The rows of the table corrupt one of them at a time.
struct Scene {
  Cache owner = used_cache();
  hashevict_cache* cache = owner.handle();
  std::vector<float> numbers = normal_numbers(1024, 1);
  std::vector<uint8_t> code_bytes = std::vector<uint8_t>(64, 0xCD);
  std::vector<std::byte> saved = owner.save(0, Stream{});
  hashevict_tensor shared_projection = Tensor{numbers.data(), {16, 16}};
  hashevict_tensor keys = Tensor{numbers.data(), {3, 2, 16}};
  hashevict_tensor queries = Tensor{numbers.data(), {3, 4, 16}};
  hashevict_tensor codes = Tensor{code_bytes.data(), {3, 2, 2}};
  hashevict_tensor key_center = Tensor{numbers.data(), {2, 16}};
  hashevict_tensor query_center = Tensor{numbers.data(), {4, 16}};
  uint64_t bytes = 77;
  hashevict_view view{};
  hashevict_statistics statistics{};
  hashevict_config config{};
  hashevict_bytes sizes{};
  hashevict_capabilities capabilities{};

  Scene() {
    hashevict_view_init(&view);
    hashevict_statistics_init(&statistics);
    hashevict_config_init(&config);
    hashevict_bytes_init(&sizes);
    hashevict_capabilities_init(&capabilities);
  }

  // Calls whose arguments are valid except for the row's.
  hashevict_status encode(hashevict_error* e, int32_t layer = 0, int32_t sequence = 0, int as = 0) {
    return hashevict_encode(cache, layer, sequence, static_cast<hashevict_encode_as>(as), &keys, &codes, e, nullptr);
  }
  hashevict_status set_projection(hashevict_error* e, int32_t layer = 0) {
    return hashevict_set_projection(cache, layer, &shared_projection, e);
  }
  hashevict_status get_projection(hashevict_error* e, int32_t layer = 0) {
    return hashevict_get_projection(cache, layer, &shared_projection, e);
  }
  hashevict_status get_statistics(hashevict_error* e, int32_t layer, int32_t kv_head, int32_t sequence) {
    return hashevict_get_statistics(cache, layer, kv_head, sequence, &statistics, e, nullptr);
  }
};

using CallCase = Case<hashevict_status (*)(Scene&, hashevict_error*)>;
using E = hashevict_error;

const std::vector<CallCase> kNullPointers{
    {"CreateConfig",
     [](Scene& s, E* e) { return hashevict_cache_create(nullptr, nullptr, &s.cache, e); },
     {kInvalid, {"config", "NULL"}}},
    {"CreateCache",
     [](Scene&, E* e) {
       const hashevict_config config = small_c_config();
       return hashevict_cache_create(&config, nullptr, nullptr, e);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"RequiredBytesConfig",
     [](Scene& s, E* e) { return hashevict_required_bytes(nullptr, &s.sizes, e); },
     {kInvalid, {"config", "NULL"}}},
    {"RequiredBytesBytes",
     [](Scene&, E* e) {
       const hashevict_config config = small_c_config();
       return hashevict_required_bytes(&config, nullptr, e);
     },
     {kInvalid, {"bytes", "NULL"}}},
    {"PresetRule",
     [](Scene&, E* e) { return hashevict_rule_preset(nullptr, HASHEVICT_PRESET_PAPER, e); },
     {kInvalid, {"rule", "NULL"}}},
    {"CapabilitiesResult",
     [](Scene&, E* e) { return hashevict_get_capabilities(HASHEVICT_BACKEND_CPU, nullptr, e); },
     {kInvalid, {"capabilities", "NULL"}}},
    {"GetConfigCache",
     [](Scene& s, E* e) { return hashevict_get_config(nullptr, &s.config, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"GetConfigConfig",
     [](Scene& s, E* e) { return hashevict_get_config(s.cache, nullptr, e); },
     {kInvalid, {"config", "NULL"}}},
    {"SetProjectionCache",
     [](Scene& s, E* e) { return hashevict_set_projection(nullptr, 0, &s.shared_projection, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"SetProjectionTensor",
     [](Scene& s, E* e) { return hashevict_set_projection(s.cache, 0, nullptr, e); },
     {kInvalid, {"projection", "NULL"}}},
    {"SetProjectionData",
     [](Scene& s, E* e) {
       s.shared_projection.data = nullptr;
       return s.set_projection(e);
     },
     {kInvalid, {"projection", "NULL"}}},
    {"GetProjectionCache",
     [](Scene& s, E* e) { return hashevict_get_projection(nullptr, 0, &s.shared_projection, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"GetProjectionTensor",
     [](Scene& s, E* e) { return hashevict_get_projection(s.cache, 0, nullptr, e); },
     {kInvalid, {"projection", "NULL"}}},
    {"GetProjectionData",
     [](Scene& s, E* e) {
       s.shared_projection.data = nullptr;
       return s.get_projection(e);
     },
     {kInvalid, {"projection", "NULL"}}},
    {"SetCenterCache",
     [](Scene& s, E* e) { return hashevict_set_center(nullptr, 0, 0, &s.key_center, &s.query_center, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"PrefillCache",
     [](Scene&, E* e) {
       const auto args = PrefillArgs{}.c_args();
       return hashevict_prefill(nullptr, &args, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"PrefillArgs",
     [](Scene& s, E* e) { return hashevict_prefill(s.cache, nullptr, e, nullptr); },
     {kInvalid, {"args", "NULL"}}},
    {"EvictCache",
     [](Scene&, E* e) {
       const auto args = EvictArgs{}.c_args();
       return hashevict_evict(nullptr, &args, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"EvictArgs",
     [](Scene& s, E* e) { return hashevict_evict(s.cache, nullptr, e, nullptr); },
     {kInvalid, {"args", "NULL"}}},
    {"AppendCache",
     [](Scene&, E* e) {
       const auto args = AppendArgs{}.c_args();
       return hashevict_append(nullptr, &args, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"AppendArgs",
     [](Scene& s, E* e) { return hashevict_append(s.cache, nullptr, e, nullptr); },
     {kInvalid, {"args", "NULL"}}},
    {"AttendCache",
     [](Scene&, E* e) {
       const auto args = AttendArgs{}.c_args();
       return hashevict_attend(nullptr, &args, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"AttendArgs",
     [](Scene& s, E* e) { return hashevict_attend(s.cache, nullptr, e, nullptr); },
     {kInvalid, {"args", "NULL"}}},
    {"DecodeCache",
     [](Scene&, E* e) {
       const auto args = DecodeArgs{}.c_args();
       return hashevict_decode(nullptr, &args, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"DecodeArgs",
     [](Scene& s, E* e) { return hashevict_decode(s.cache, nullptr, e, nullptr); },
     {kInvalid, {"args", "NULL"}}},
    {"EncodeCache",
     [](Scene& s, E* e) {
       return hashevict_encode(nullptr, 0, 0, HASHEVICT_ENCODE_KEYS, &s.keys, &s.codes, e, nullptr);
     },
     {kInvalid, {"cache", "NULL"}}},
    {"EncodeX",
     [](Scene& s, E* e) {
       return hashevict_encode(s.cache, 0, 0, HASHEVICT_ENCODE_KEYS, nullptr, &s.codes, e, nullptr);
     },
     {kInvalid, {"x", "NULL"}}},
    {"EncodeCodes",
     [](Scene& s, E* e) {
       return hashevict_encode(s.cache, 0, 0, HASHEVICT_ENCODE_KEYS, &s.keys, nullptr, e, nullptr);
     },
     {kInvalid, {"codes", "NULL"}}},
    {"EncodeXData",
     [](Scene& s, E* e) {
       s.keys.data = nullptr;
       return s.encode(e);
     },
     {kInvalid, {"x", "NULL"}}},
    {"EncodeXWithoutShape",
     [](Scene& s, E* e) {
       s.keys = hashevict_tensor{};
       return s.encode(e);
     },
     {kInvalid, {"x", "NULL"}}},
    {"EncodeCodesData",
     [](Scene& s, E* e) {
       s.codes.data = nullptr;
       return s.encode(e);
     },
     {kInvalid, {"codes", "NULL"}}},
    {"ResetCache", [](Scene&, E* e) { return hashevict_reset(nullptr, 0, e, nullptr); }, {kInvalid, {"cache", "NULL"}}},
    {"ForkCache",
     [](Scene&, E* e) { return hashevict_fork(nullptr, 0, 1, e, nullptr); },
     {kInvalid, {"cache", "NULL"}}},
    {"SaveBytesCache",
     [](Scene& s, E* e) { return hashevict_save_bytes(nullptr, &s.bytes, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"SaveBytesBytes",
     [](Scene& s, E* e) { return hashevict_save_bytes(s.cache, nullptr, e); },
     {kInvalid, {"bytes", "NULL"}}},
    {"SaveCache",
     [](Scene& s, E* e) { return hashevict_save(nullptr, 0, s.saved.data(), s.saved.size(), &s.bytes, e, nullptr); },
     {kInvalid, {"cache", "NULL"}}},
    {"SaveBuffer",
     [](Scene& s, E* e) { return hashevict_save(s.cache, 0, nullptr, UINT64_MAX, &s.bytes, e, nullptr); },
     {kInvalid, {"buffer", "NULL"}}},
    {"SaveWritten",
     [](Scene& s, E* e) {
       std::vector<std::byte> room(1 << 20);
       return hashevict_save(s.cache, 0, room.data(), room.size(), nullptr, e, nullptr);
     },
     {kInvalid, {"written", "NULL"}}},
    {"LoadCache",
     [](Scene& s, E* e) { return hashevict_load(nullptr, 0, s.saved.data(), s.saved.size(), e, nullptr); },
     {kInvalid, {"cache", "NULL"}}},
    {"LoadBuffer",
     [](Scene& s, E* e) { return hashevict_load(s.cache, 0, nullptr, 100, e, nullptr); },
     {kInvalid, {"buffer", "NULL"}}},
    {"GetViewCache",
     [](Scene& s, E* e) { return hashevict_get_view(nullptr, 0, 0, &s.view, e); },
     {kInvalid, {"cache", "NULL"}}},
    {"GetViewView",
     [](Scene& s, E* e) { return hashevict_get_view(s.cache, 0, 0, nullptr, e); },
     {kInvalid, {"view", "NULL"}}},
    {"GetStatisticsCache",
     [](Scene& s, E* e) { return hashevict_get_statistics(nullptr, 0, 0, 0, &s.statistics, e, nullptr); },
     {kInvalid, {"cache", "NULL"}}},
    {"GetStatisticsStatistics",
     [](Scene& s, E* e) { return hashevict_get_statistics(s.cache, 0, 0, 0, nullptr, e, nullptr); },
     {kInvalid, {"statistics", "NULL"}}},
};

const std::vector<CallCase> kBadIndices{
    {"SetProjectionLayerNegative", [](Scene& s, E* e) { return s.set_projection(e, -1); }, {kInvalid, {"layer", "-1"}}},
    {"SetProjectionLayerBeyond", [](Scene& s, E* e) { return s.set_projection(e, 2); }, {kInvalid, {"layer", "= 2"}}},
    {"GetProjectionLayerNegative", [](Scene& s, E* e) { return s.get_projection(e, -1); }, {kInvalid, {"layer", "-1"}}},
    {"GetProjectionLayerBeyond",
     [](Scene& s, E* e) { return s.get_projection(e, 9); },
     {kInvalid, {"layer", "= 9", "0 to 1"}}},
    {"EncodeLayerNegative", [](Scene& s, E* e) { return s.encode(e, -1); }, {kInvalid, {"layer", "-1", "0 to 1"}}},
    {"EncodeLayerBeyond", [](Scene& s, E* e) { return s.encode(e, 2); }, {kInvalid, {"layer", "= 2", "0 to 1"}}},
    {"EncodeSequenceNegative", [](Scene& s, E* e) { return s.encode(e, 0, -1); }, {kInvalid, {"sequence", "-1"}}},
    {"EncodeSequenceBeyond",
     [](Scene& s, E* e) { return s.encode(e, 0, 3); },
     {kInvalid, {"sequence", "= 3", "0 to 2"}}},
    {"GetViewLayerNegative",
     [](Scene& s, E* e) { return hashevict_get_view(s.cache, -1, 0, &s.view, e); },
     {kInvalid, {"layer", "-1", "0 to 1"}}},
    {"GetViewLayerBeyond",
     [](Scene& s, E* e) { return hashevict_get_view(s.cache, 2, 0, &s.view, e); },
     {kInvalid, {"layer", "= 2", "0 to 1"}}},
    {"GetViewHeadNegative",
     [](Scene& s, E* e) { return hashevict_get_view(s.cache, 0, -1, &s.view, e); },
     {kInvalid, {"kv_head", "-1", "0 to 1"}}},
    {"GetViewHeadBeyond",
     [](Scene& s, E* e) { return hashevict_get_view(s.cache, 0, 2, &s.view, e); },
     {kInvalid, {"kv_head", "= 2", "0 to 1"}}},
    {"StatisticsLayerBelowAll",
     [](Scene& s, E* e) { return s.get_statistics(e, -2, 0, 0); },
     {kInvalid, {"layer", "-2"}}},
    {"StatisticsLayerBeyond",
     [](Scene& s, E* e) { return s.get_statistics(e, 2, 0, 0); },
     {kInvalid, {"layer", "= 2"}}},
    {"StatisticsHeadBelowAll",
     [](Scene& s, E* e) { return s.get_statistics(e, 0, -2, 0); },
     {kInvalid, {"kv_head", "-2", "-1 to 1"}}},
    {"StatisticsHeadBeyond",
     [](Scene& s, E* e) { return s.get_statistics(e, 0, 2, 0); },
     {kInvalid, {"kv_head", "= 2"}}},
    {"StatisticsSequenceBelowAll",
     [](Scene& s, E* e) { return s.get_statistics(e, 0, 0, -2); },
     {kInvalid, {"sequence", "-2"}}},
    {"StatisticsSequenceBeyond",
     [](Scene& s, E* e) { return s.get_statistics(e, 0, 0, 3); },
     {kInvalid, {"sequence", "= 3"}}},
    {"ResetSequenceBelowAll",
     [](Scene& s, E* e) { return hashevict_reset(s.cache, -2, e, nullptr); },
     {kInvalid, {"sequence", "-2"}}},
    {"ResetSequenceBeyond",
     [](Scene& s, E* e) { return hashevict_reset(s.cache, 3, e, nullptr); },
     {kInvalid, {"sequence", "= 3"}}},
    {"ForkSourceNegative",
     [](Scene& s, E* e) { return hashevict_fork(s.cache, -1, 0, e, nullptr); },
     {kInvalid, {"source", "-1", "0 to 2"}}},
    {"ForkSourceBeyond",
     [](Scene& s, E* e) { return hashevict_fork(s.cache, 3, 0, e, nullptr); },
     {kInvalid, {"source", "= 3", "0 to 2"}}},
    {"ForkTargetNegative",
     [](Scene& s, E* e) { return hashevict_fork(s.cache, 0, -1, e, nullptr); },
     {kInvalid, {"target", "-1", "0 to 2"}}},
    {"ForkTargetBeyond",
     [](Scene& s, E* e) { return hashevict_fork(s.cache, 0, 3, e, nullptr); },
     {kInvalid, {"target", "= 3", "0 to 2"}}},
    {"SaveSequenceNegative",
     [](Scene& s, E* e) { return hashevict_save(s.cache, -1, s.saved.data(), s.saved.size(), &s.bytes, e, nullptr); },
     {kInvalid, {"sequence", "-1", "0 to 2"}}},
    {"SaveSequenceBeyond",
     [](Scene& s, E* e) { return hashevict_save(s.cache, 3, s.saved.data(), s.saved.size(), &s.bytes, e, nullptr); },
     {kInvalid, {"sequence", "= 3", "0 to 2"}}},
    {"SaveBufferTooSmall",
     [](Scene& s, E* e) { return hashevict_save(s.cache, 0, s.code_bytes.data(), 64, &s.bytes, e, nullptr); },
     {kInvalid, {"buffer_bytes", "64", "expected"}}},
    {"LoadSequenceNegative",
     [](Scene& s, E* e) { return hashevict_load(s.cache, -1, s.saved.data(), s.saved.size(), e, nullptr); },
     {kInvalid, {"sequence", "-1", "0 to 2"}}},
    {"LoadSequenceBeyond",
     [](Scene& s, E* e) { return hashevict_load(s.cache, 3, s.saved.data(), s.saved.size(), e, nullptr); },
     {kInvalid, {"sequence", "= 3", "0 to 2"}}},
    {"LoadNothing",
     [](Scene& s, E* e) { return hashevict_load(s.cache, 0, s.saved.data(), 0, e, nullptr); },
     {HASHEVICT_INVALID_DATA, {}}},
    {"CapabilitiesBackendUnknown",
     [](Scene& s, E* e) { return hashevict_get_capabilities(static_cast<hashevict_backend>(3), &s.capabilities, e); },
     {kInvalid, {"backend", "3"}}},
    // c_abi.c asks for the unknown preset: in C++ no value of that enumeration lies outside 0 to 3.
};

const std::vector<CallCase> kBadTensors{
    {"EncodeXOfRankTwo",
     [](Scene& s, E* e) {
       s.keys.rank = 2;
       return s.encode(e);
     },
     {kInvalid, {"x.rank", "= 2", "expected 3"}}},
    {"EncodeXWithQueryHeadsAsKeys",
     [](Scene& s, E* e) {
       s.keys = s.queries;
       return s.encode(e);
     },
     {kInvalid, {"x.shape[1]", "= 4", "expected 2"}}},
    {"EncodeXWithKeyHeadsAsQueries",
     [](Scene& s, E* e) { return s.encode(e, 0, 0, HASHEVICT_ENCODE_QUERIES); },
     {kInvalid, {"x.shape[1]", "= 2", "expected 4"}}},
    {"EncodeXDimWrong",
     [](Scene& s, E* e) {
       s.keys.shape[2] = 8;
       return s.encode(e);
     },
     {kInvalid, {"x.shape[2]", "= 8", "expected 16"}}},
    {"EncodeXInt32",
     [](Scene& s, E* e) {
       s.keys.dtype = HASHEVICT_INT32;
       return s.encode(e);
     },
     {kInvalid, {"x.dtype", "= 3"}}},
    {"EncodeXNegative",
     [](Scene& s, E* e) {
       s.keys.shape[0] = -3;
       return s.encode(e);
     },
     {kInvalid, {"x.shape[0]", "-3"}}},
    {"EncodeCodesOfRankTwo",
     [](Scene& s, E* e) {
       s.codes.rank = 2;
       return s.encode(e);
     },
     {kInvalid, {"codes.rank", "= 2", "expected 3"}}},
    {"EncodeCodesForOtherTokens",
     [](Scene& s, E* e) {
       s.codes.shape[0] = 2;
       return s.encode(e);
     },
     {kInvalid, {"codes.shape[0]", "= 2", "expected 3"}}},
    {"EncodeCodesForOtherBits",
     [](Scene& s, E* e) {
       s.codes.shape[2] = 4;
       return s.encode(e);
     },
     {kInvalid, {"codes.shape[2]", "= 4", "expected 2"}}},
    {"EncodeCodesFloat32",
     [](Scene& s, E* e) {
       s.codes.dtype = HASHEVICT_FLOAT32;
       return s.encode(e);
     },
     {kInvalid, {"codes.dtype", "= 0", "expected 4"}}},
    {"ProjectionOfRankOne",
     [](Scene& s, E* e) {
       s.shared_projection.rank = 1;
       return s.get_projection(e);
     },
     {kInvalid, {"projection.rank", "= 1"}}},
    {"ProjectionFloat16",
     [](Scene& s, E* e) {
       s.shared_projection.dtype = HASHEVICT_FLOAT16;
       return s.get_projection(e);
     },
     {kInvalid, {"projection.dtype", "= 1"}}},
    {"ProjectionBitsWrong",
     [](Scene& s, E* e) {
       s.shared_projection.shape[0] = 8;
       return s.get_projection(e);
     },
     {kInvalid, {"projection.shape[0]", "= 8", "expected 16"}}},
    {"ProjectionDimWrong",
     [](Scene& s, E* e) {
       s.shared_projection.shape[1] = 32;
       return s.get_projection(e);
     },
     {kInvalid, {"projection.shape[1]", "= 32", "expected 16"}}},
    {"ProjectionPerHeadOfASharedOne",
     [](Scene& s, E* e) {
       s.shared_projection = Tensor{s.numbers.data(), {2, 16, 16}};
       return s.get_projection(e);
     },
     {kInvalid, {"projection"}}},
};

class BadCall : public ::testing::TestWithParam<CallCase> {};

TEST_P(BadCall, IsRefusedAndChangesNothing) {
  Scene scene;
  Scene expected;
  const std::vector<std::byte> before = save_all(scene.owner);
  const Outcome outcome = outcome_of([&](hashevict_error* error) { return GetParam().action(scene, error); });
  expect_refused(outcome, GetParam().refusal);
  EXPECT_EQ(save_all(scene.owner), before);
  EXPECT_EQ(scene.numbers, expected.numbers);
  EXPECT_EQ(scene.code_bytes, expected.code_bytes);
  EXPECT_EQ(scene.saved, expected.saved);
  EXPECT_EQ(bytes_of(&scene.view, sizeof scene.view), bytes_of(&expected.view, sizeof expected.view));
  EXPECT_EQ(bytes_of(&scene.config, sizeof scene.config), bytes_of(&expected.config, sizeof expected.config));
  EXPECT_EQ(bytes_of(&scene.sizes, sizeof scene.sizes), bytes_of(&expected.sizes, sizeof expected.sizes));
  EXPECT_EQ(scene.statistics.tokens_seen, 0);
  EXPECT_EQ(scene.capabilities.policy_mask, 0U);
}

TEST_P(BadCall, IsRefusedWithoutAMessageBuffer) {
  Scene scene;
  EXPECT_EQ(GetParam().action(scene, nullptr), GetParam().refusal.status);
}

INSTANTIATE_TEST_SUITE_P(NullPointers, BadCall, ::testing::ValuesIn(kNullPointers), CaseName{});
INSTANTIATE_TEST_SUITE_P(Indices, BadCall, ::testing::ValuesIn(kBadIndices), CaseName{});
INSTANTIATE_TEST_SUITE_P(Tensors, BadCall, ::testing::ValuesIn(kBadTensors), CaseName{});

TEST(Destroy, NullIsAllowed) {
  hashevict_cache_destroy(nullptr);
}

}  // namespace
}  // namespace hashevict::test
