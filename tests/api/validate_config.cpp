// SPDX-License-Identifier: Apache-2.0
// Every field of a config. required_bytes and create refuse bad values with a message that names them; values at the
// limits work.
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

// [2 layers, 2 KV heads]
const int32_t kLastHeadTooSmall[] = {20, 20, 30, 14};
const int32_t kFirstHeadEmpty[] = {0, 20, 20, 20};
const int32_t kNegativeHead[] = {20, -3, 20, 20};
const int32_t kFourSizes[] = {15, 16, 40, 10000};

/// Rules of the two layers, the second of them changed by `change`.
void spoil_second_rule(hashevict_config& c, void (*change)(hashevict_rule&)) {
  static std::array<hashevict_rule, 2> rules;
  rules = {c.rule, c.rule};
  change(rules[1]);
  c.rule.hash_bits = -1;  // not read
  c.layer_rules = rules.data();
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

const std::vector<ConfigCase> kBadConfigs{
    {"BackendNegative",
     [](hashevict_config& c) { c.placement.backend = -1; },
     {kInvalid, {"config.placement.backend", "-1", "expected"}}},
    {"BackendUnknown",
     [](hashevict_config& c) { c.placement.backend = 3; },
     {kInvalid, {"config.placement.backend", "3", "0 to 2"}}},
    {"DeviceNegative",
     [](hashevict_config& c) { c.placement.device = -4; },
     {kInvalid, {"config.placement.device", "-4", "0 to 2147483647"}}},
    {"LayersZero",
     [](hashevict_config& c) { c.shape.num_layers = 0; },
     {kInvalid, {"config.shape.num_layers", "= 0", "1 to"}}},
    {"LayersNegative",
     [](hashevict_config& c) { c.shape.num_layers = -2; },
     {kInvalid, {"config.shape.num_layers", "-2", "1 to"}}},
    {"LayersHuge",
     [](hashevict_config& c) { c.shape.num_layers = INT32_MAX; },
     {kInvalid, {"config.shape.num_layers", "2147483647", "1 to"}}},
    {"SequencesZero",
     [](hashevict_config& c) { c.shape.num_sequences = 0; },
     {kInvalid, {"config.shape.num_sequences", "= 0", "1 to"}}},
    {"SequencesNegative",
     [](hashevict_config& c) { c.shape.num_sequences = INT32_MIN; },
     {kInvalid, {"config.shape.num_sequences", "-2147483648", "1 to"}}},
    {"SequencesHuge",
     [](hashevict_config& c) {
       c.shape.num_sequences = INT32_MAX;
       c.execution.max_batch_tokens = 0;
     },
     {kInvalid, {"config.shape.num_sequences", "2147483647", "1 to"}}},
    {"QoHeadsZero",
     [](hashevict_config& c) { c.shape.num_qo_heads = 0; },
     {kInvalid, {"config.shape.num_qo_heads", "= 0", "expected"}}},
    {"QoHeadsNegative",
     [](hashevict_config& c) { c.shape.num_qo_heads = -4; },
     {kInvalid, {"config.shape.num_qo_heads", "-4", "expected"}}},
    {"QoHeadsNotMultiple",
     [](hashevict_config& c) { c.shape.num_qo_heads = 5; },
     {kInvalid, {"config.shape.num_qo_heads", "5", "multiple of 2 from 2 to 512", "num_kv_heads"}}},
    {"QoHeadsFewerThanKvHeads",
     [](hashevict_config& c) { c.shape.num_qo_heads = 1; },
     {kInvalid, {"config.shape.num_qo_heads", "1", "multiple of 2 from 2 to 512", "num_kv_heads"}}},
    {"GroupTooLarge",
     [](hashevict_config& c) { c.shape.num_qo_heads = 2 * 257; },
     {kInvalid, {"config.shape.num_qo_heads", "514", "multiple of 2 from 2 to 512"}}},
    {"KvHeadsZero",
     [](hashevict_config& c) { c.shape.num_kv_heads = 0; },
     {kInvalid, {"config.shape.num_kv_heads", "= 0", "1 to"}}},
    {"KvHeadsNegative",
     [](hashevict_config& c) { c.shape.num_kv_heads = -1; },
     {kInvalid, {"config.shape.num_kv_heads", "-1", "1 to"}}},
    {"KvHeadsHuge",
     [](hashevict_config& c) { c.shape.num_qo_heads = c.shape.num_kv_heads = INT32_MAX; },
     {kInvalid, {"config.shape.num_kv_heads", "2147483647", "1 to"}}},
    {"HeadDimZero",
     [](hashevict_config& c) { c.shape.head_dim = 0; },
     {kInvalid, {"config.shape.head_dim", "= 0", "multiple of 8 from 8 to 256"}}},
    {"HeadDimNegative",
     [](hashevict_config& c) { c.shape.head_dim = -8; },
     {kInvalid, {"config.shape.head_dim", "-8", "multiple of 8 from 8 to 256"}}},
    {"HeadDimNotMultipleOfEight",
     [](hashevict_config& c) { c.shape.head_dim = 100; },
     {kInvalid, {"config.shape.head_dim", "100", "multiple of 8 from 8 to 256"}}},
    {"HeadDimTooLarge",
     [](hashevict_config& c) { c.shape.head_dim = 264; },
     {kInvalid, {"config.shape.head_dim", "264", "multiple of 8 from 8 to 256"}}},
    {"DtypeInt32",
     [](hashevict_config& c) { c.shape.dtype = HASHEVICT_INT32; },
     {kInvalid, {"config.shape.dtype", "3", "FLOAT32", "FLOAT16", "BFLOAT16"}}},
    {"DtypeNegative",
     [](hashevict_config& c) { c.shape.dtype = -1; },
     {kInvalid, {"config.shape.dtype", "-1", "BFLOAT16"}}},
    {"DtypeUnknown",
     [](hashevict_config& c) { c.shape.dtype = 77; },
     {kInvalid, {"config.shape.dtype", "77", "BFLOAT16"}}},
    {"KvHeadOffsetNegative",
     [](hashevict_config& c) { c.shape.kv_head_offset = -1; },
     {kInvalid, {"config.shape.kv_head_offset", "-1", "expected"}}},
    {"CapacityZero",
     [](hashevict_config& c) { c.shape.capacity = 0; },
     {kInvalid, {"config.shape.capacity", "= 0", "15 to 268435456"}}},
    {"CapacityNegative",
     [](hashevict_config& c) { c.shape.capacity = -20; },
     {kInvalid, {"config.shape.capacity", "-20", "15 to 268435456"}}},
    {"CapacityWithoutVictim",
     [](hashevict_config& c) { c.shape.capacity = 14; },
     {kInvalid, {"config.shape.capacity", "14", "4 + 10 + 1"}}},
    {"CapacityHuge",
     [](hashevict_config& c) { c.shape.capacity = INT32_MAX; },
     {kInvalid, {"config.shape.capacity", "2147483647", "15 to 268435456"}}},
    {"LastHeadWithoutVictim",
     [](hashevict_config& c) { c.shape.capacities = kLastHeadTooSmall; },
     {kInvalid, {"config.shape.capacities[1][1] = 14", "4 + 10 + 1"}}},
    {"LastHeadWithoutVictimByFractions",
     [](hashevict_config& c) {
       c.shape.capacities = kLastHeadTooSmall;
       c.rule.sink_fraction = 0.5F;
       c.rule.recent_fraction = 0.5F;
     },
     {kInvalid, {"config.shape.capacities[0][0] = 20", "10 + 10 + 1"}}},
    {"FirstHeadEmpty",
     [](hashevict_config& c) { c.shape.capacities = kFirstHeadEmpty; },
     {kInvalid, {"config.shape.capacities[0][0] = 0", "15 to 268435456"}}},
    {"CapacityOfAHeadNegative",
     [](hashevict_config& c) { c.shape.capacities = kNegativeHead; },
     {kInvalid, {"config.shape.capacities[0][1] = -3", "15 to 268435456"}}},
    {"CapacitiesThatDifferInSlotMajor",
     [](hashevict_config& c) {
       c.shape.capacities = kFourSizes;
       c.placement.layout = HASHEVICT_LAYOUT_SLOT_MAJOR;
     },
     {kInvalid, {"config.placement.layout = 1", "HEAD_MAJOR (0)", "layer 0", "from 15 to 16"}}},
    {"CapacitiesThatDifferInPages",
     [](hashevict_config& c) {
       c.shape.capacities = kFourSizes;
       c.placement.layout = HASHEVICT_LAYOUT_PAGED;
     },
     {kInvalid, {"config.placement.layout = 2", "expected PAGED_PER_HEAD (3)", "layer 0", "from 15 to 16"}}},
    {"PolicyNegative",
     [](hashevict_config& c) { c.rule.policy = -1; },
     {kInvalid, {"config.rule.policy", "-1", "0 to 6"}}},
    {"PolicyUnknown",
     [](hashevict_config& c) { c.rule.policy = 7; },
     {kInvalid, {"config.rule.policy", "7", "0 to 6"}}},
    {"HashBitsZero",
     [](hashevict_config& c) { c.rule.hash_bits = 0; },
     {kInvalid, {"config.rule.hash_bits", "= 0", "8, 16, 32, 64 or 128"}}},
    {"HashBitsBetween",
     [](hashevict_config& c) { c.rule.hash_bits = 24; },
     {kInvalid, {"config.rule.hash_bits", "24", "8, 16, 32, 64 or 128"}}},
    {"HashBitsTooMany",
     [](hashevict_config& c) { c.rule.hash_bits = 256; },
     {kInvalid, {"config.rule.hash_bits", "256", "8, 16, 32, 64 or 128"}}},
    {"HashBitsNegative",
     [](hashevict_config& c) { c.rule.hash_bits = -16; },
     {kInvalid, {"config.rule.hash_bits", "-16", "8, 16, 32, 64 or 128"}}},
    {"HashSourceNegative",
     [](hashevict_config& c) { c.rule.hash_source = -1; },
     {kInvalid, {"config.rule.hash_source", "-1", "0 to 1"}}},
    {"HashSourceUnknown",
     [](hashevict_config& c) { c.rule.hash_source = 2; },
     {kInvalid, {"config.rule.hash_source", "2", "0 to 1"}}},
    {"TieNegative", [](hashevict_config& c) { c.rule.tie = -1; }, {kInvalid, {"config.rule.tie", "-1", "0 to 1"}}},
    {"TieUnknown", [](hashevict_config& c) { c.rule.tie = 2; }, {kInvalid, {"config.rule.tie", "2", "0 to 1"}}},
    {"SinksNegative",
     [](hashevict_config& c) { c.rule.num_sink_tokens = -1; },
     {kInvalid, {"config.rule.num_sink_tokens", "-1", "0 to"}}},
    {"SinksFillCapacity",
     [](hashevict_config& c) { c.rule.num_sink_tokens = 20; },
     {kInvalid, {"config.shape.capacity", "20", "20 + 10 + 1"}}},
    {"SinksOverflow",
     [](hashevict_config& c) { c.rule.num_sink_tokens = INT32_MAX; },
     {kInvalid, {"config.rule.num_sink_tokens", "2147483647"}}},
    {"RecentNegative",
     [](hashevict_config& c) { c.rule.recent_window = -10; },
     {kInvalid, {"config.rule.recent_window", "-10", "0 to"}}},
    {"RecentFillsCapacity",
     [](hashevict_config& c) { c.rule.recent_window = 16; },
     {kInvalid, {"config.shape.capacity", "20", "4 + 16 + 1"}}},
    {"RecentOverflow",
     [](hashevict_config& c) { c.rule.recent_window = INT32_MAX; },
     {kInvalid, {"config.rule.recent_window", "2147483647"}}},
    {"SinkFractionNan",
     [](hashevict_config& c) { c.rule.sink_fraction = kNan; },
     {kInvalid, {"config.rule.sink_fraction", "nan", "fraction up to 1"}}},
    {"SinkFractionAboveOne",
     [](hashevict_config& c) { c.rule.sink_fraction = 1.5F; },
     {kInvalid, {"config.rule.sink_fraction", "1.5", "fraction up to 1"}}},
    {"SinkFractionInfinite",
     [](hashevict_config& c) { c.rule.sink_fraction = kInfinity; },
     {kInvalid, {"config.rule.sink_fraction", "inf", "fraction up to 1"}}},
    {"RecentFractionNan",
     [](hashevict_config& c) { c.rule.recent_fraction = kNan; },
     {kInvalid, {"config.rule.recent_fraction", "nan", "fraction up to 1"}}},
    {"RecentFractionAboveOne",
     [](hashevict_config& c) { c.rule.recent_fraction = 2.0F; },
     {kInvalid, {"config.rule.recent_fraction", "2", "fraction up to 1"}}},
    {"FractionsLeaveNoVictim",
     [](hashevict_config& c) { c.rule.sink_fraction = c.rule.recent_fraction = 0.5F; },
     {kInvalid, {"config.shape.capacity", "20", "10 + 10 + 1"}}},
    {"CenteringNegative",
     [](hashevict_config& c) { c.rule.centering = -1; },
     {kInvalid, {"config.rule.centering", "-1", "0 to 2"}}},
    {"CenteringUnknown",
     [](hashevict_config& c) { c.rule.centering = 3; },
     {kInvalid, {"config.rule.centering", "3", "0 to 2"}}},
    {"ProjectionKindNegative",
     [](hashevict_config& c) { c.rule.projection_kind = -1; },
     {kInvalid, {"config.rule.projection_kind", "-1", "0 to 2"}}},
    {"ProjectionKindUnknown",
     [](hashevict_config& c) { c.rule.projection_kind = 3; },
     {kInvalid, {"config.rule.projection_kind", "3", "0 to 2"}}},
    {"ImportanceSourceNegative",
     [](hashevict_config& c) { c.rule.importance_source = -1; },
     {kInvalid, {"config.rule.importance_source", "-1", "0 to 1"}}},
    {"ImportanceSourceUnknown",
     [](hashevict_config& c) { c.rule.importance_source = 2; },
     {kInvalid, {"config.rule.importance_source", "2", "0 to 1"}}},
    {"LayoutNegative",
     [](hashevict_config& c) { c.placement.layout = -1; },
     {kInvalid, {"config.placement.layout", "-1", "0 to 3"}}},
    {"LayoutUnknown",
     [](hashevict_config& c) { c.placement.layout = 4; },
     {kInvalid, {"config.placement.layout", "4", "0 to 3"}}},
    {"PageSizeZero",
     [](hashevict_config& c) {
       c.placement.layout = HASHEVICT_LAYOUT_PAGED;
       c.placement.page_size = 0;
     },
     {kInvalid, {"config.placement.page_size", "= 0", "1 to"}}},
    {"PageSizeOfAHeadZero",
     [](hashevict_config& c) {
       c.placement.layout = HASHEVICT_LAYOUT_PAGED_PER_HEAD;
       c.placement.page_size = 0;
     },
     {kInvalid, {"config.placement.page_size", "= 0", "1 to"}}},
    {"PageSizeNegative",
     [](hashevict_config& c) {
       c.placement.layout = HASHEVICT_LAYOUT_PAGED;
       c.placement.page_size = -16;
     },
     {kInvalid, {"config.placement.page_size", "-16", "1 to"}}},
    {"BatchNegative",
     [](hashevict_config& c) { c.execution.max_batch_tokens = -1; },
     {kInvalid, {"config.execution.max_batch_tokens", "-1", "0, or 3 to 1073741824"}}},
    {"BatchBelowSequences",
     [](hashevict_config& c) { c.execution.max_batch_tokens = 2; },
     {kInvalid, {"config.execution.max_batch_tokens", "2", "0, or 3 to 1073741824", "num_sequences"}}},
    {"BatchHuge",
     [](hashevict_config& c) { c.execution.max_batch_tokens = INT64_MAX; },
     {kInvalid, {"config.execution.max_batch_tokens", "9223372036854775807", "0, or 3 to 1073741824"}}},
    {"BatchBeyondThirtyTwoBits",
     [](hashevict_config& c) { c.execution.max_batch_tokens = (INT64_C(1) << 30) + 1; },
     {kInvalid, {"config.execution.max_batch_tokens", "= 1073741825", "0, or 3 to 1073741824"}}},
    {"ThreadsNegative",
     [](hashevict_config& c) { c.execution.num_threads = -1; },
     {kInvalid, {"config.execution.num_threads", "-1", "0 to"}}},
    {"ThreadsHuge",
     [](hashevict_config& c) { c.execution.num_threads = INT32_MAX; },
     {kInvalid, {"config.execution.num_threads", "2147483647", "0 to"}}},
    {"HeadsOfAllLayersBeyond",
     [](hashevict_config& c) {
       c.shape.num_layers = 1 << 12;
       c.shape.num_qo_heads = c.shape.num_kv_heads = (1 << 10) + 1;
     },
     {kInvalid, {"config.shape.num_kv_heads = 1025", "1 to 1024", "all layers have at most 2^22"}}},
    {"SizesOverflow",
     [](hashevict_config& c) {
       c.shape.num_layers = 1 << 8;
       c.shape.num_sequences = 1 << 24;
       c.shape.num_qo_heads = c.shape.num_kv_heads = 1 << 14;
       c.shape.capacity = 1 << 16;
       c.execution.max_batch_tokens = 0;
     },
     {kInvalid, {"config", "2^62", "num_sequences"}}},
    {"SizesOfLayersOverflowInTheirSum",  // 2^61 bytes of keys a layer
     [](hashevict_config& c) {
       c.shape.num_layers = 8;
       c.shape.num_sequences = 1 << 20;
       c.shape.num_qo_heads = c.shape.num_kv_heads = 1 << 10;
       c.shape.capacity = 1 << 21;
       c.shape.head_dim = 256;
       c.execution.max_batch_tokens = 0;
     },
     {kInvalid, {"config", "2^62", "num_layers"}}},
    {"LayerRulePolicy",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.policy = 7; }); },
     {kInvalid, {"config.layer_rules[1].policy = 7: expected 0 to 6"}}},
    {"LayerRuleHashBits",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.hash_bits = 12; }); },
     {kInvalid, {"config.layer_rules[1].hash_bits = 12: expected 8, 16, 32, 64 or 128"}}},
    {"LayerRuleHashSource",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.hash_source = -1; }); },
     {kInvalid, {"config.layer_rules[1].hash_source = -1: expected 0 to 1"}}},
    {"LayerRuleTie",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.tie = 2; }); },
     {kInvalid, {"config.layer_rules[1].tie = 2: expected 0 to 1"}}},
    {"LayerRuleSinks",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.num_sink_tokens = -7; }); },
     {kInvalid, {"config.layer_rules[1].num_sink_tokens = -7: expected 0 to"}}},
    {"LayerRuleRecents",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.recent_window = INT32_MIN; }); },
     {kInvalid, {"config.layer_rules[1].recent_window = -2147483648: expected 0 to"}}},
    {"LayerRuleSinkFraction",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.sink_fraction = kNan; }); },
     {kInvalid, {"config.layer_rules[1].sink_fraction", "nan", "fraction up to 1"}}},
    {"LayerRuleRecentFraction",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.recent_fraction = 1.25F; }); },
     {kInvalid, {"config.layer_rules[1].recent_fraction = 1.25: expected a fraction up to 1"}}},
    {"LayerRuleCentering",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.centering = 3; }); },
     {kInvalid, {"config.layer_rules[1].centering = 3: expected 0 to 2"}}},
    {"LayerRuleProjectionKind",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.projection_kind = 3; }); },
     {kInvalid, {"config.layer_rules[1].projection_kind = 3: expected 0 to 2"}}},
    {"LayerRuleReserved",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.reserved[3] = 9; }); },
     {kInvalid, {"config.layer_rules[1].reserved[3] = 9: expected 0, since this version has no field there"}}},
    {"LayerRuleLeavesNoVictim",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.num_sink_tokens = 10; }); },
     {kInvalid, {"config.shape.capacity = 20: expected 21 to", "10 + 10 + 1"}}},
    {"ShapeReserved",
     [](hashevict_config& c) { c.shape.reserved[2] = 1; },
     {kInvalid, {"config.shape.reserved[2] = 1: expected 0"}}},
    {"RuleReserved",
     [](hashevict_config& c) { c.rule.reserved[0] = UINT64_MAX; },
     {kInvalid, {"config.rule.reserved[0]", "expected 0"}}},
    {"PlacementReserved",
     [](hashevict_config& c) { c.placement.reserved[1] = 2; },
     {kInvalid, {"config.placement.reserved[1] = 2: expected 0"}}},
    {"ExecutionReserved",
     [](hashevict_config& c) { c.execution.reserved[4] = -5; },
     {kInvalid, {"config.execution.reserved[4] = -5: expected 0"}}},
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
  auto* cache = reinterpret_cast<hashevict_cache*>(&config_);  // create must replace it by NULL
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&config_, nullptr, &cache, error); }),
      GetParam().refusal);
  EXPECT_EQ(cache, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Fields, BadConfig, ::testing::ValuesIn(kBadConfigs), CaseName{});

const std::vector<ConfigCase> kEdgeConfigs{
    {"SmallestHeadDim", [](hashevict_config& c) { c.shape.head_dim = 8; }, {}},
    {"LargestHeadDim", [](hashevict_config& c) { c.shape.head_dim = 256; }, {}},
    {"HeadDimOfNoPowerOfTwo", [](hashevict_config& c) { c.shape.head_dim = 104; }, {}},
    {"SmallestCapacity", [](hashevict_config& c) { c.shape.capacity = 15; }, {}},
    {"OneSlot",
     [](hashevict_config& c) {
       c.shape.capacity = 1;
       c.rule.num_sink_tokens = c.rule.recent_window = 0;
     },
     {}},
    {"CapacityPerHead",
     [](hashevict_config& c) {
       c.shape.capacities = kFourSizes;
       c.shape.capacity = 0;
     },
     {}},
    {"Fractions",
     [](hashevict_config& c) {
       c.rule.sink_fraction = 0.1F;
       c.rule.recent_fraction = 0.5F;
     },
     {}},
    {"FractionsOverrideCounts",
     [](hashevict_config& c) {
       c.rule.num_sink_tokens = c.rule.recent_window = -1;
       c.rule.sink_fraction = c.rule.recent_fraction = 0.0F;
     },
     {}},
    {"NegativeInfiniteFractionIsUnused", [](hashevict_config& c) { c.rule.sink_fraction = -kInfinity; }, {}},
    {"OneHeadPerGroup", [](hashevict_config& c) { c.shape.num_qo_heads = 2; }, {}},
    {"LargestGroup", [](hashevict_config& c) { c.shape.num_qo_heads = 512; }, {}},
    {"EightBits", [](hashevict_config& c) { c.rule.hash_bits = 8; }, {}},
    {"HundredTwentyEightBits", [](hashevict_config& c) { c.rule.hash_bits = 128; }, {}},
    {"ProjectionPerHead", [](hashevict_config& c) { c.rule.projection_per_head = 1; }, {}},
    {"RulePerLayer",
     [](hashevict_config& c) { spoil_second_rule(c, [](hashevict_rule& r) { r.hash_bits = 128; }); },
     {}},
    {"ShardOffset", [](hashevict_config& c) { c.shape.kv_head_offset = 6; }, {}},
    {"PinnedPrompt", [](hashevict_config& c) { c.rule.pin_prompt = 1; }, {}},
    {"BatchOfSequences", [](hashevict_config& c) { c.execution.max_batch_tokens = 3; }, {}},
    {"DefaultBatch", [](hashevict_config& c) { c.execution.max_batch_tokens = 0; }, {}},
    {"PageSizeIsReadByPagedOnly", [](hashevict_config& c) { c.placement.page_size = -1; }, {}},
};

class EdgeConfig : public ::testing::TestWithParam<ConfigCase> {};

TEST_P(EdgeConfig, TakesAStepThatEvicts) {
  hashevict_config c = valid_config();
  GetParam().action(c);
  Cache cache{Config{c}};
  feed(cache, 0, 42, 7);
  const Statistics statistics = cache.statistics(0, 0, 0, Stream{});
  EXPECT_EQ(statistics.tokens_seen, 42);
  EXPECT_EQ(statistics.evictions, 42 - statistics.slots_total);
}

INSTANTIATE_TEST_SUITE_P(Fields, EdgeConfig, ::testing::ValuesIn(kEdgeConfigs), CaseName{});

TEST(ConfigLimits, LargestBatchIsAccepted) {
  hashevict_config config = valid_config();
  config.execution.max_batch_tokens = INT64_C(1) << 30;
  hashevict_bytes bytes;
  hashevict_bytes_init(&bytes);
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
    config.shape.capacity = capacity;
    config.rule.recent_fraction = fraction;
    hashevict_bytes bytes;
    hashevict_bytes_init(&bytes);
    const auto measure = [&](hashevict_error* error) { return hashevict_required_bytes(&config, &bytes, error); };
    config.rule.num_sink_tokens = capacity - slots - 1;  // leaves one evictable slot
    EXPECT_EQ(outcome_of(measure).status, HASHEVICT_OK);
    ++config.rule.num_sink_tokens;
    expect_refused(outcome_of(measure), {kInvalid, {"config.shape.capacity", "+ " + std::to_string(slots) + " + 1"}});
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
  hashevict_bytes bytes;
  hashevict_bytes_init(&bytes);
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
  config.placement.backend = HASHEVICT_BACKEND_CUDA;
  hashevict_cache* cache = nullptr;
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&config, nullptr, &cache, error); }),
      {HASHEVICT_UNSUPPORTED, {"backend = 2", "expected"}});
  EXPECT_EQ(cache, nullptr);
}

}  // namespace
}  // namespace hashevict::test
