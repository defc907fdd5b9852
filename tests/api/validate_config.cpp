// SPDX-License-Identifier: Apache-2.0
// Every field of a config: bad values are refused by required_bytes and by create, with a message that names them, and
// values at the edge of what is allowed work.
#include <cstring>
#include <limits>
#include <tuple>

#include "support.hpp"

namespace hashevict::test {
namespace {

using ConfigCase = Case<void (*)(hashevict_config&)>;

hashevict_config valid_config() {
  return small_c_config();
}

const int32_t kSecondLayerTooSmall[] = {20, 14};
const int32_t kFirstLayerEmpty[] = {0, 20};
const int32_t kNegativeLayer[] = {20, -3};
const int32_t kTwoSizes[] = {15, 40};

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

const std::vector<ConfigCase> kBadConfigs{
    {"BackendNegative", [](hashevict_config& c) { c.backend = -1; }, {kInvalid, {"config.backend", "-1", "expected"}}},
    {"BackendUnknown", [](hashevict_config& c) { c.backend = 3; }, {kInvalid, {"config.backend", "3", "0 to 2"}}},
    {"DeviceNegative", [](hashevict_config& c) { c.device = -4; }, {kInvalid, {"config.device", "-4", "0 or more"}}},
    {"LayersZero", [](hashevict_config& c) { c.num_layers = 0; }, {kInvalid, {"config.num_layers", "= 0", "1 to"}}},
    {"LayersNegative", [](hashevict_config& c) { c.num_layers = -2; }, {kInvalid, {"config.num_layers", "-2", "1 to"}}},
    {"LayersHuge",
     [](hashevict_config& c) { c.num_layers = INT32_MAX; },
     {kInvalid, {"config.num_layers", "2147483647", "1 to"}}},
    {"SequencesZero",
     [](hashevict_config& c) { c.num_sequences = 0; },
     {kInvalid, {"config.num_sequences", "= 0", "1 to"}}},
    {"SequencesNegative",
     [](hashevict_config& c) { c.num_sequences = INT32_MIN; },
     {kInvalid, {"config.num_sequences", "-2147483648", "1 to"}}},
    {"SequencesHuge",
     [](hashevict_config& c) {
       c.num_sequences = INT32_MAX;
       c.max_batch_tokens = 0;
     },
     {kInvalid, {"config.num_sequences", "2147483647", "1 to"}}},
    {"QoHeadsZero",
     [](hashevict_config& c) { c.num_qo_heads = 0; },
     {kInvalid, {"config.num_qo_heads", "= 0", "expected"}}},
    {"QoHeadsNegative",
     [](hashevict_config& c) { c.num_qo_heads = -4; },
     {kInvalid, {"config.num_qo_heads", "-4", "expected"}}},
    {"QoHeadsNotMultiple",
     [](hashevict_config& c) { c.num_qo_heads = 5; },
     {kInvalid, {"config.num_qo_heads", "5", "multiple of num_kv_heads = 2"}}},
    {"QoHeadsFewerThanKvHeads",
     [](hashevict_config& c) { c.num_qo_heads = 1; },
     {kInvalid, {"config.num_qo_heads", "1", "multiple of num_kv_heads = 2"}}},
    {"GroupTooLarge",
     [](hashevict_config& c) { c.num_qo_heads = 2 * 257; },
     {kInvalid, {"config.num_qo_heads", "514", "at most 256"}}},
    {"KvHeadsZero",
     [](hashevict_config& c) { c.num_kv_heads = 0; },
     {kInvalid, {"config.num_kv_heads", "= 0", "1 to"}}},
    {"KvHeadsNegative",
     [](hashevict_config& c) { c.num_kv_heads = -1; },
     {kInvalid, {"config.num_kv_heads", "-1", "1 to"}}},
    {"KvHeadsHuge",
     [](hashevict_config& c) { c.num_qo_heads = c.num_kv_heads = INT32_MAX; },
     {kInvalid, {"config.num_kv_heads", "2147483647", "1 to"}}},
    {"HeadDimZero",
     [](hashevict_config& c) { c.head_dim = 0; },
     {kInvalid, {"config.head_dim", "= 0", "multiple of 8 from 8 to 256"}}},
    {"HeadDimNegative",
     [](hashevict_config& c) { c.head_dim = -8; },
     {kInvalid, {"config.head_dim", "-8", "multiple of 8 from 8 to 256"}}},
    {"HeadDimNotMultipleOfEight",
     [](hashevict_config& c) { c.head_dim = 100; },
     {kInvalid, {"config.head_dim", "100", "multiple of 8 from 8 to 256"}}},
    {"HeadDimTooLarge",
     [](hashevict_config& c) { c.head_dim = 264; },
     {kInvalid, {"config.head_dim", "264", "multiple of 8 from 8 to 256"}}},
    {"DtypeInt32",
     [](hashevict_config& c) { c.dtype = HASHEVICT_INT32; },
     {kInvalid, {"config.dtype", "3", "FLOAT32", "FLOAT16", "BFLOAT16"}}},
    {"DtypeNegative", [](hashevict_config& c) { c.dtype = -1; }, {kInvalid, {"config.dtype", "-1", "BFLOAT16"}}},
    {"DtypeUnknown", [](hashevict_config& c) { c.dtype = 77; }, {kInvalid, {"config.dtype", "77", "BFLOAT16"}}},
    {"KvHeadOffsetNegative",
     [](hashevict_config& c) { c.kv_head_offset = -1; },
     {kInvalid, {"config.kv_head_offset", "-1", "expected"}}},
    {"CapacityZero", [](hashevict_config& c) { c.capacity = 0; }, {kInvalid, {"config.capacity", "= 0", "1 to"}}},
    {"CapacityNegative", [](hashevict_config& c) { c.capacity = -20; }, {kInvalid, {"config.capacity", "-20", "1 to"}}},
    {"CapacityWithoutVictim",
     [](hashevict_config& c) { c.capacity = 14; },
     {kInvalid, {"config.capacity", "14", "4 + 10 + 1"}}},
    {"CapacityHuge",
     [](hashevict_config& c) { c.capacity = INT32_MAX; },
     {kInvalid, {"config.capacity", "2147483647", "1 to"}}},
    {"SecondLayerWithoutVictim",
     [](hashevict_config& c) { c.layer_capacities = kSecondLayerTooSmall; },
     {kInvalid, {"config.layer_capacities[1]", "14", "4 + 10 + 1"}}},
    {"FirstLayerEmpty",
     [](hashevict_config& c) { c.layer_capacities = kFirstLayerEmpty; },
     {kInvalid, {"config.layer_capacities[0]", "= 0", "1 to"}}},
    {"LayerCapacityNegative",
     [](hashevict_config& c) { c.layer_capacities = kNegativeLayer; },
     {kInvalid, {"config.layer_capacities[1]", "-3", "1 to"}}},
    {"PolicyNegative", [](hashevict_config& c) { c.policy = -1; }, {kInvalid, {"config.policy", "-1", "0 to 6"}}},
    {"PolicyUnknown", [](hashevict_config& c) { c.policy = 7; }, {kInvalid, {"config.policy", "7", "0 to 6"}}},
    {"HashBitsZero",
     [](hashevict_config& c) { c.hash_bits = 0; },
     {kInvalid, {"config.hash_bits", "= 0", "8, 16, 32, 64 or 128"}}},
    {"HashBitsBetween",
     [](hashevict_config& c) { c.hash_bits = 24; },
     {kInvalid, {"config.hash_bits", "24", "8, 16, 32, 64 or 128"}}},
    {"HashBitsTooMany",
     [](hashevict_config& c) { c.hash_bits = 256; },
     {kInvalid, {"config.hash_bits", "256", "8, 16, 32, 64 or 128"}}},
    {"HashBitsNegative",
     [](hashevict_config& c) { c.hash_bits = -16; },
     {kInvalid, {"config.hash_bits", "-16", "8, 16, 32, 64 or 128"}}},
    {"HashSourceNegative",
     [](hashevict_config& c) { c.hash_source = -1; },
     {kInvalid, {"config.hash_source", "-1", "0 to 1"}}},
    {"HashSourceUnknown",
     [](hashevict_config& c) { c.hash_source = 2; },
     {kInvalid, {"config.hash_source", "2", "0 to 1"}}},
    {"TieNegative", [](hashevict_config& c) { c.tie = -1; }, {kInvalid, {"config.tie", "-1", "0 to 1"}}},
    {"TieUnknown", [](hashevict_config& c) { c.tie = 2; }, {kInvalid, {"config.tie", "2", "0 to 1"}}},
    {"SinksNegative",
     [](hashevict_config& c) { c.num_sink_tokens = -1; },
     {kInvalid, {"config.num_sink_tokens", "-1", "0 to"}}},
    {"SinksFillCapacity",
     [](hashevict_config& c) { c.num_sink_tokens = 20; },
     {kInvalid, {"config.capacity", "20", "20 + 10 + 1"}}},
    {"SinksOverflow",
     [](hashevict_config& c) { c.num_sink_tokens = INT32_MAX; },
     {kInvalid, {"config.num_sink_tokens", "2147483647"}}},
    {"RecentNegative",
     [](hashevict_config& c) { c.recent_window = -10; },
     {kInvalid, {"config.recent_window", "-10", "0 to"}}},
    {"RecentFillsCapacity",
     [](hashevict_config& c) { c.recent_window = 16; },
     {kInvalid, {"config.capacity", "20", "4 + 16 + 1"}}},
    {"RecentOverflow",
     [](hashevict_config& c) { c.recent_window = INT32_MAX; },
     {kInvalid, {"config.recent_window", "2147483647"}}},
    {"SinkFractionNan",
     [](hashevict_config& c) { c.sink_fraction = kNan; },
     {kInvalid, {"config.sink_fraction", "nan", "fraction up to 1"}}},
    {"SinkFractionAboveOne",
     [](hashevict_config& c) { c.sink_fraction = 1.5F; },
     {kInvalid, {"config.sink_fraction", "1.5", "fraction up to 1"}}},
    {"SinkFractionInfinite",
     [](hashevict_config& c) { c.sink_fraction = kInfinity; },
     {kInvalid, {"config.sink_fraction", "inf", "fraction up to 1"}}},
    {"RecentFractionNan",
     [](hashevict_config& c) { c.recent_fraction = kNan; },
     {kInvalid, {"config.recent_fraction", "nan", "fraction up to 1"}}},
    {"RecentFractionAboveOne",
     [](hashevict_config& c) { c.recent_fraction = 2.0F; },
     {kInvalid, {"config.recent_fraction", "2", "fraction up to 1"}}},
    {"FractionsLeaveNoVictim",
     [](hashevict_config& c) { c.sink_fraction = c.recent_fraction = 0.5F; },
     {kInvalid, {"config.capacity", "20", "10 + 10 + 1"}}},
    {"DecayNegative",
     [](hashevict_config& c) { c.score_decay_shift = -1; },
     {kInvalid, {"config.score_decay_shift", "-1", "0 to 8"}}},
    {"DecayTooSlow",
     [](hashevict_config& c) { c.score_decay_shift = 9; },
     {kInvalid, {"config.score_decay_shift", "9", "0 to 8"}}},
    {"DecayWithoutHashPolicy",
     [](hashevict_config& c) {
       c.score_decay_shift = 3;
       c.policy = HASHEVICT_POLICY_MEAN;
     },
     {kInvalid, {"config.score_decay_shift", "3", "HASH"}}},
    {"CenteringNegative",
     [](hashevict_config& c) { c.centering = -1; },
     {kInvalid, {"config.centering", "-1", "0 to 2"}}},
    {"CenteringUnknown", [](hashevict_config& c) { c.centering = 3; }, {kInvalid, {"config.centering", "3", "0 to 2"}}},
    {"ProjectionKindNegative",
     [](hashevict_config& c) { c.projection_kind = -1; },
     {kInvalid, {"config.projection_kind", "-1", "0 to 1"}}},
    {"ProjectionKindUnknown",
     [](hashevict_config& c) { c.projection_kind = 2; },
     {kInvalid, {"config.projection_kind", "2", "0 to 1"}}},
    {"LayoutNegative", [](hashevict_config& c) { c.layout = -1; }, {kInvalid, {"config.layout", "-1", "0 to 2"}}},
    {"LayoutUnknown", [](hashevict_config& c) { c.layout = 3; }, {kInvalid, {"config.layout", "3", "0 to 2"}}},
    {"PageSizeZero",
     [](hashevict_config& c) {
       c.layout = HASHEVICT_LAYOUT_PAGED;
       c.page_size = 0;
     },
     {kInvalid, {"config.page_size", "= 0", "1 to"}}},
    {"PageSizeNegative",
     [](hashevict_config& c) {
       c.layout = HASHEVICT_LAYOUT_PAGED;
       c.page_size = -16;
     },
     {kInvalid, {"config.page_size", "-16", "1 to"}}},
    {"BatchNegative",
     [](hashevict_config& c) { c.max_batch_tokens = -1; },
     {kInvalid, {"config.max_batch_tokens", "-1", "0 to"}}},
    {"BatchBelowSequences",
     [](hashevict_config& c) { c.max_batch_tokens = 2; },
     {kInvalid, {"config.max_batch_tokens", "2", "num_sequences = 3"}}},
    {"BatchHuge",
     [](hashevict_config& c) { c.max_batch_tokens = INT64_MAX; },
     {kInvalid, {"config.max_batch_tokens", "9223372036854775807", "0 to"}}},
    {"BatchBeyondThirtyTwoBits",
     [](hashevict_config& c) { c.max_batch_tokens = (INT64_C(1) << 30) + 1; },
     {kInvalid, {"config.max_batch_tokens", "= 1073741825", "0 to 1073741824"}}},
    {"ThreadsNegative",
     [](hashevict_config& c) { c.num_threads = -1; },
     {kInvalid, {"config.num_threads", "-1", "0 to"}}},
    {"ThreadsHuge",
     [](hashevict_config& c) { c.num_threads = INT32_MAX; },
     {kInvalid, {"config.num_threads", "2147483647", "0 to"}}},
    {"SizesOverflow",
     [](hashevict_config& c) {
       c.num_layers = 1 << 16;
       c.num_sequences = 1 << 24;
       c.num_qo_heads = c.num_kv_heads = 1 << 14;
       c.capacity = 1 << 28;
       c.max_batch_tokens = 0;
     },
     {kInvalid, {"config", "2^62", "num_sequences"}}},
    {"SizesOfLayersOverflowInTheirSum",  // 2^61 bytes of keys a layer
     [](hashevict_config& c) {
       c.num_layers = 8;
       c.num_sequences = 1 << 20;
       c.num_qo_heads = c.num_kv_heads = 1 << 10;
       c.capacity = 1 << 21;
       c.head_dim = 256;
       c.max_batch_tokens = 0;
     },
     {kInvalid, {"config", "2^62", "num_layers"}}},
    {"StructSizeZero", [](hashevict_config& c) { c.struct_size = 0; }, {kInvalid, {"config", "struct_size", "= 0"}}},
    {"StructSizeTooSmall",
     [](hashevict_config& c) { c.struct_size = sizeof c - 8; },
     {kInvalid, {"config", "struct_size", std::to_string(sizeof(hashevict_config) - 8)}}},
    {"StructSizeAbsurd",
     [](hashevict_config& c) { c.struct_size = SIZE_MAX; },
     {kInvalid, {"config", "struct_size", std::to_string(SIZE_MAX)}}},
};

class BadConfig : public ::testing::TestWithParam<ConfigCase> {
 protected:
  BadConfig() : config_{valid_config()} { GetParam().action(config_); }
  hashevict_config config_;
};

TEST_P(BadConfig, IsRefusedByRequiredBytes) {
  hashevict_bytes bytes;
  std::memset(&bytes, 0x5A, sizeof bytes);
  bytes.struct_size = sizeof bytes;
  const std::vector<std::byte> before = bytes_of(&bytes, sizeof bytes);
  expect_refused(outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&config_, &bytes, error); }),
                 GetParam().refusal);
  EXPECT_EQ(bytes_of(&bytes, sizeof bytes), before);
}

TEST_P(BadConfig, IsRefusedByCreate) {
  auto* cache = reinterpret_cast<hashevict_cache*>(&config_);  // must be replaced by NULL
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&config_, nullptr, &cache, error); }),
      GetParam().refusal);
  EXPECT_EQ(cache, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Fields, BadConfig, ::testing::ValuesIn(kBadConfigs), CaseName{});

const std::vector<ConfigCase> kEdgeConfigs{
    {"SmallestHeadDim", [](hashevict_config& c) { c.head_dim = 8; }, {}},
    {"LargestHeadDim", [](hashevict_config& c) { c.head_dim = 256; }, {}},
    {"HeadDimOfNoPowerOfTwo", [](hashevict_config& c) { c.head_dim = 104; }, {}},
    {"SmallestCapacity", [](hashevict_config& c) { c.capacity = 15; }, {}},
    {"OneSlot",
     [](hashevict_config& c) {
       c.capacity = 1;
       c.num_sink_tokens = c.recent_window = 0;
     },
     {}},
    {"CapacityPerLayer",
     [](hashevict_config& c) {
       c.layer_capacities = kTwoSizes;
       c.capacity = 0;
     },
     {}},
    {"Fractions",
     [](hashevict_config& c) {
       c.sink_fraction = 0.1F;
       c.recent_fraction = 0.5F;
     },
     {}},
    {"FractionsOverrideCounts",
     [](hashevict_config& c) {
       c.num_sink_tokens = c.recent_window = -1;
       c.sink_fraction = c.recent_fraction = 0.0F;
     },
     {}},
    {"NegativeInfiniteFractionIsUnused", [](hashevict_config& c) { c.sink_fraction = -kInfinity; }, {}},
    {"OneHeadPerGroup", [](hashevict_config& c) { c.num_qo_heads = 2; }, {}},
    {"LargestGroup", [](hashevict_config& c) { c.num_qo_heads = 512; }, {}},
    {"EightBits", [](hashevict_config& c) { c.hash_bits = 8; }, {}},
    {"HundredTwentyEightBits", [](hashevict_config& c) { c.hash_bits = 128; }, {}},
    {"SlowestDecay", [](hashevict_config& c) { c.score_decay_shift = 8; }, {}},
    {"ProjectionPerHead", [](hashevict_config& c) { c.projection_per_head = 1; }, {}},
    {"ShardOffset", [](hashevict_config& c) { c.kv_head_offset = 6; }, {}},
    {"PinnedPrompt", [](hashevict_config& c) { c.pin_prompt = 1; }, {}},
    {"BatchOfSequences", [](hashevict_config& c) { c.max_batch_tokens = 3; }, {}},
    {"DefaultBatch", [](hashevict_config& c) { c.max_batch_tokens = 0; }, {}},
    {"PageSizeIsReadByPagedOnly", [](hashevict_config& c) { c.page_size = -1; }, {}},
};

class EdgeConfig : public ::testing::TestWithParam<ConfigCase> {};

TEST_P(EdgeConfig, TakesAStepThatEvicts) {
  hashevict_config c = valid_config();
  GetParam().action(c);
  Cache cache{Config{c}};
  feed(cache, 0, 42, 7);
  const Statistics statistics = cache.statistics(0, 0, Stream{});
  EXPECT_EQ(statistics.tokens_seen, 42);
  EXPECT_EQ(statistics.evictions, 42 - statistics.slots_total);
}

INSTANTIATE_TEST_SUITE_P(Fields, EdgeConfig, ::testing::ValuesIn(kEdgeConfigs), CaseName{});

TEST(ConfigLimits, LargestBatchIsAccepted) {
  hashevict_config config = valid_config();
  config.max_batch_tokens = INT64_C(1) << 30;
  hashevict_bytes bytes{};
  bytes.struct_size = sizeof bytes;
  EXPECT_EQ(outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&config, &bytes, error); }).status,
            HASHEVICT_OK);
  EXPECT_GT(bytes.workspace, uint64_t{1} << 30);
}

TEST(ConfigFractions, GiveTheSlotsThatTheirDecimalsSay) {
  for (const auto& [fraction, capacity, slots] : {std::tuple{0.9F, 10, 9},
                                                  {0.9F, 20, 18},
                                                  {0.7F, 50, 35},
                                                  {0.7F, 51, 35},
                                                  {0.2F, 1000, 200},
                                                  {0.2F, 1004, 200},
                                                  {0.0F, 10, 0}}) {
    SCOPED_TRACE(::testing::Message() << fraction << " of " << capacity);
    hashevict_config config = valid_config();
    config.capacity = capacity;
    config.recent_fraction = fraction;
    hashevict_bytes bytes{};
    bytes.struct_size = sizeof bytes;
    const auto measure = [&](hashevict_error* error) { return hashevict_required_bytes(&config, &bytes, error); };
    config.num_sink_tokens = capacity - slots - 1;  // leaves one slot that can be evicted
    EXPECT_EQ(outcome_of(measure).status, HASHEVICT_OK);
    ++config.num_sink_tokens;
    expect_refused(outcome_of(measure), {kInvalid, {"config.capacity", "+ " + std::to_string(slots) + " + 1"}});
  }
}

/// A config as a caller with a newer header would pass it.
struct NewerConfig {
  hashevict_config known;
  uint64_t unknown[4];
};

TEST(ConfigVersion, LongerStructWithUnknownFieldsZeroWorks) {
  NewerConfig config{valid_config(), {}};
  config.known.struct_size = sizeof config;
  hashevict_bytes bytes{};
  bytes.struct_size = sizeof bytes;
  EXPECT_EQ(
      outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&config.known, &bytes, error); }).status,
      HASHEVICT_OK);
}

TEST(ConfigVersion, LongerStructWithAnUnknownFieldSetIsRefused) {
  for (int field = 0; field < 4; ++field) {
    NewerConfig config{valid_config(), {}};
    config.known.struct_size = sizeof config;
    config.unknown[field] = 1;
    hashevict_cache* cache = nullptr;
    expect_refused(outcome_of([&](hashevict_error* error) {
                     return hashevict_cache_create(&config.known, nullptr, &cache, error);
                   }),
                   {kInvalid, {"config", "struct_size", std::to_string(sizeof config)}});
  }
}

TEST(ConfigBackend, CudaIsUnsupportedWhereItCannotRun) {
  const Capabilities capabilities = Cache::capabilities();
  if (capabilities.has_cuda_build != 0 && capabilities.num_cuda_devices > 0) GTEST_SKIP() << "a CUDA device is here";
  hashevict_config config = valid_config();
  config.backend = HASHEVICT_BACKEND_CUDA;
  hashevict_cache* cache = nullptr;
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&config, nullptr, &cache, error); }),
      {HASHEVICT_UNSUPPORTED, {"backend = 2", "expected"}});
  EXPECT_EQ(cache, nullptr);
}

}  // namespace
}  // namespace hashevict::test
