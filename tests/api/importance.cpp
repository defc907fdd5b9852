// SPDX-License-Identifier: Apache-2.0
// Arguments of the rule `importance`: what its steps must bring, the weights that replace it, and the snapshots that
// name both.
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::array kTakeTokens{any_prefill, any_evict, any_append, any_decode};

Config with_importance(ImportanceSource source, int32_t slopes) {
  Config config = small_config();
  config.rule.policy = Policy::importance;
  config.rule.importance_source = source;
  config.rule.importance_slopes = slopes;
  return config;
}

// ------------------------------------------------------------------------------------------------------- of the steps

struct StepCase {
  std::string name;
  Config config;
  void (*action)(StepData&);
  std::vector<std::string> message;
  friend void PrintTo(const StepCase& row, std::ostream* stream) { *stream << row.name; }
};

const Config kGiven = with_importance(ImportanceSource::given, 1);
const Config kGivenAlone = with_importance(ImportanceSource::given, 0);
const Config kOfKey = with_importance(ImportanceSource::key, 1);

/// Three tokens of three sequences.
const std::vector<StepCase> kSteps{
    {"Missing",
     kGiven,
     [](StepData& s) { s.args.importance = Tensor{}; },
     {"args.importance.data = NULL: expected a tensor, since config.rule.importance_source is GIVEN"}},
    {"SlopeMissing",
     kGiven,
     [](StepData& s) { s.args.importance_slope = Tensor{}; },
     {"args.importance_slope.data = NULL: expected a tensor, since config.rule.importance_slopes is set"}},
    {"SlopeMissingBesideWeights",
     kOfKey,
     [](StepData& s) { s.args.importance_slope = Tensor{}; },
     {"args.importance_slope.data = NULL"}},
    {"ForAnotherRule",
     small_config(),
     [](StepData& s) { s.args.importance = s.args.lse; },
     {"args.importance.data = ", "expected NULL, since config.rule.policy is not IMPORTANCE"}},
    {"SlopeForAnotherRule",
     small_config(),
     [](StepData& s) { s.args.importance_slope = s.args.lse; },
     {"args.importance_slope.data = ", "expected NULL, since config.rule.policy is not IMPORTANCE"}},
    {"BesideWeights",
     kOfKey,
     [](StepData& s) { s.args.importance = s.args.importance_slope; },
     {"args.importance.data = ", "expected NULL, since config.rule.importance_source is KEY"}},
    {"SlopeWithoutSlopes",
     kGivenAlone,
     [](StepData& s) { s.args.importance_slope = s.args.importance; },
     {"args.importance_slope.data = ", "expected NULL, since config.rule.importance_slopes is 0"}},
    {"Type",
     kGiven,
     [](StepData& s) { s.args.importance.dtype = HASHEVICT_FLOAT16; },
     {"args.importance.dtype = 1: expected 0"}},
    {"Rank", kGiven, [](StepData& s) { s.args.importance.rank = 3; }, {"args.importance.rank = 3: expected 2"}},
    {"Tokens",
     kGiven,
     [](StepData& s) { s.args.importance.shape[0] = 2; },
     {"args.importance.shape[0] = 2: expected 3"}},
    {"Heads",
     kGiven,
     [](StepData& s) { s.args.importance_slope.shape[1] = 4; },
     {"args.importance_slope.shape[1] = 4: expected 2"}},
    {"NegativeStride",
     kGiven,
     [](StepData& s) { s.args.importance_slope.stride[0] = -2; },
     {"args.importance_slope.stride[0] = -2"}},
    {"NotANumber",
     kGiven,
     [](StepData& s) { s.importance[5] = kNan; },
     {"args.importance[2][1] = nan: expected a finite number"}},
    {"Infinite",
     kGiven,
     [](StepData& s) { s.importance_slope[2] = -kInfinity; },
     {"args.importance_slope[1][0] = -inf: expected a finite number"}},
    {"OverVictims",
     kGiven,
     [](StepData& s) { s.args.importance.data = s.args.victims.data; },
     {"args.victims = ", "apart from args.importance"}},
    {"SlopeOverSlots",
     kGiven,
     [](StepData& s) { s.args.importance_slope.data = s.args.slots.data; },
     {"args.slots = ", "apart from args.importance_slope"}},
};

class ImportanceOfAStep : public ::testing::TestWithParam<StepCase> {};
INSTANTIATE_TEST_SUITE_P(Api, ImportanceOfAStep, ::testing::ValuesIn(kSteps), CaseName{});

TEST_P(ImportanceOfAStep, IsRefusedByNameAndChangesNothing) {
  const StepCase& row = GetParam();
  Cache cache{row.config};
  if (row.config.rule.importance_source == ImportanceSource::key) set_importance_weights(cache, 3);
  feed(cache, 0, 25, 1);
  const std::vector<std::byte> before = save_all(cache);
  for (const AnyOperation operation : kTakeTokens) {
    StepData data{row.config, 3, 2};
    row.action(data);
    expect_refused(
        outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &data.args, error, nullptr); }),
        {kInvalid, row.message});
    EXPECT_TRUE(data.outputs_untouched());
    EXPECT_EQ(save_all(cache), before);
  }
}

TEST(ImportanceOfAStep, OfASkippedRowIsNotRead) {
  Cache cache{kGiven};
  StepData data{kGiven, 3, 2};
  data.set_sequences({0, -1, 2});
  data.importance[2] = kNan;
  EXPECT_NO_THROW(cache.append(data.args, Stream{}));
}

TEST(ImportanceOfAStep, IsReadThroughStrides) {
  Cache dense{kGiven};
  Cache strided{kGiven};
  StepData data{kGiven, 3, 2};
  std::vector<float> spread(3 * 2 * 4, kNan);
  for (size_t i = 0; i < 6; ++i) spread[4 * i] = data.importance[i];
  dense.append(data.args, Stream{});
  data.args.importance = Tensor{spread.data(), {3, 2}, {8, 4}};
  strided.append(data.args, Stream{});
  EXPECT_EQ(save_all(strided), save_all(dense));
}

TEST(ImportanceOfAStep, OfNoTokensNeedsNoMemory) {
  Cache cache{kGiven};
  StepData data{kGiven, 0, 2};
  data.args.importance.data = data.args.importance_slope.data = nullptr;
  EXPECT_NO_THROW(cache.append(data.args, Stream{}));
}

// ------------------------------------------------------------------------------------------------------------- weights

/// Arguments of one call, of which a row spoils one.
struct WeightArguments {
  int32_t layer = 1;
  std::vector<float> numbers = normal_numbers(34, 4);
  Tensor weight{numbers.data(), {2, 16}};
  Tensor bias{numbers.data() + 32, {2}};
  hashevict_tensor* given_weight = &weight;
  hashevict_tensor* given_bias = &bias;
};

using WeightCase = Case<void (*)(WeightArguments&)>;
const std::vector<WeightCase> kWeights{
    {"Layer", [](WeightArguments& a) { a.layer = 2; }, {kInvalid, {"layer = 2: expected 0 to 1"}}},
    {"NoWeight", [](WeightArguments& a) { a.given_weight = nullptr; }, {kInvalid, {"weight = NULL"}}},
    {"NoBias", [](WeightArguments& a) { a.given_bias = nullptr; }, {kInvalid, {"bias = NULL"}}},
    {"NoMemory", [](WeightArguments& a) { a.bias.data = nullptr; }, {kInvalid, {"bias = NULL"}}},
    {"Type",
     [](WeightArguments& a) { a.weight.dtype = HASHEVICT_BFLOAT16; },
     {kInvalid, {"weight.dtype = 2: expected 0"}}},
    {"Rank", [](WeightArguments& a) { a.bias.rank = 2; }, {kInvalid, {"bias.rank = 2: expected 1"}}},
    {"Heads", [](WeightArguments& a) { a.weight.shape[0] = 1; }, {kInvalid, {"weight.shape[0] = 1: expected 2"}}},
    {"Width", [](WeightArguments& a) { a.weight.shape[1] = 8; }, {kInvalid, {"weight.shape[1] = 8: expected 16"}}},
    {"BiasHeads", [](WeightArguments& a) { a.bias.shape[0] = 4; }, {kInvalid, {"bias.shape[0] = 4: expected 2"}}},
    {"NotANumber",
     [](WeightArguments& a) { a.numbers[19] = kNan; },
     {kInvalid, {"weight[1][3] = nan: expected a finite number"}}},
    {"InfiniteBias",
     [](WeightArguments& a) { a.numbers[33] = kInfinity; },
     {kInvalid, {"bias[1] = inf: expected a finite number"}}},
};

class ImportanceWeights : public ::testing::TestWithParam<WeightCase> {};
INSTANTIATE_TEST_SUITE_P(Api, ImportanceWeights, ::testing::ValuesIn(kWeights), CaseName{});

hashevict_status set_weights(Cache& cache, const WeightArguments& a, hashevict_error* error) {
  return hashevict_set_importance_weights(cache.handle(), a.layer, a.given_weight, a.given_bias, error);
}

TEST_P(ImportanceWeights, AreRefusedByNameAndNotThere) {
  Cache cache{kOfKey};
  WeightArguments a;
  GetParam().action(a);
  expect_refused(outcome_of([&](hashevict_error* error) { return set_weights(cache, a, error); }), GetParam().refusal);
  StepData data{kOfKey, 1, 2};
  data.args.layer = 1;
  expect_refused(
      outcome_of([&](hashevict_error* error) { return any_append(cache.handle(), &data.args, error, nullptr); }),
      {HASHEVICT_INVALID_STATE, {"append: layer 1 has no importance weights", "config.rule.importance_source is KEY"}});
}

TEST(ImportanceWeights, AreRefusedByOtherRules) {
  const WeightArguments a;
  Cache hash{small_config()};
  expect_refused(outcome_of([&](hashevict_error* error) { return set_weights(hash, a, error); }),
                 {kInvalid, {"set_importance_weights: config.rule.policy = 0: expected IMPORTANCE (6)"}});
  Cache given{kGiven};
  expect_refused(outcome_of([&](hashevict_error* error) { return set_weights(given, a, error); }),
                 {kInvalid, {"set_importance_weights: config.rule.importance_source = 0: expected KEY (1)"}});
}

TEST(ImportanceWeights, AreRefusedWhileTheLayerHoldsTokens) {
  Cache cache{kOfKey};
  set_importance_weights(cache, 3);
  feed(cache, 2, 1, 1);
  const std::vector<std::byte> before = save_all(cache);
  const WeightArguments a;
  expect_refused(outcome_of([&](hashevict_error* error) { return set_weights(cache, a, error); }),
                 {HASHEVICT_INVALID_STATE, {"set_importance_weights: layer 1 holds tokens", "reset first"}});
  EXPECT_EQ(save_all(cache), before);
  cache.reset(Stream{});
  EXPECT_NO_THROW(set_importance_weights(cache, 4));
}

TEST(ImportanceWeights, AreReadThroughStrides) {
  Cache dense{kOfKey};
  set_importance_weights(dense, 3);
  Cache strided{kOfKey};
  for (int32_t layer = 0; layer < 2; ++layer) {
    const std::vector<float> numbers = normal_numbers(34, static_cast<uint64_t>(3 + layer));
    std::vector<float> columns(34);
    for (size_t i = 0; i < 32; ++i) columns[i % 16 * 2 + i / 16] = numbers[i];
    columns[32] = numbers[32];
    columns[33] = numbers[33];
    strided.set_importance_weights(layer, Tensor{columns.data(), {2, 16}, {1, 2}}, Tensor{columns.data() + 32, {2}});
  }
  feed(dense, 0, 40, 1);
  feed(strided, 0, 40, 1);
  EXPECT_EQ(save_all(strided), save_all(dense));
}

TEST(ImportanceWeights, AreWaitedForByEveryOperationThatTakesTokensAndByLoad) {
  Cache source{kOfKey};
  set_importance_weights(source, 3);
  feed(source, 0, 30, 1);
  const std::vector<std::byte> saved = source.save(0, Stream{});
  Cache cache{kOfKey};
  for (const AnyOperation operation : kTakeTokens) {
    const StepData data{kOfKey, 1, 2};
    EXPECT_EQ(outcome_of([&](hashevict_error* e) { return operation(cache.handle(), &data.args, e, nullptr); }).status,
              HASHEVICT_INVALID_STATE);
  }
  const auto load = [&](hashevict_error* error) {
    return hashevict_load(cache.handle(), 1, saved.data(), saved.size(), error, nullptr);
  };
  expect_refused(outcome_of(load), {HASHEVICT_INVALID_STATE, {"load: layer 0 has no importance weights"}});
  set_importance_weights(cache, 4);
  expect_refused(outcome_of(load), {HASHEVICT_INVALID_DATA,
                                    {"layer 0 saved with importance weights of checksum", "this cache's weights"}});
  set_importance_weights(cache, 3);
  EXPECT_EQ(outcome_of(load).status, HASHEVICT_OK);
  EXPECT_EQ(cache.save(1, Stream{}), saved);
}

TEST(ImportanceOfASnapshot, NamesWhereItCameFrom) {
  Cache source{kGiven};
  feed(source, 0, 30, 1);
  const std::vector<std::byte> saved = source.save(0, Stream{});
  const auto load_into = [&](const Config& config) {
    Cache cache{config};
    if (config.rule.importance_source == ImportanceSource::key) set_importance_weights(cache, 3);
    return outcome_of([&](hashevict_error* error) {
      return hashevict_load(cache.handle(), 0, saved.data(), saved.size(), error, nullptr);
    });
  };
  expect_refused(load_into(kGivenAlone), {HASHEVICT_INVALID_DATA, {"saved with importance_slopes = 1: expected 0"}});
  expect_refused(load_into(kOfKey), {HASHEVICT_INVALID_DATA, {"saved with importance_source = 0: expected 1"}});
  EXPECT_EQ(load_into(kGiven).status, HASHEVICT_OK);
}

TEST(ImportanceSettings, AreReadByTheirRuleAlone) {
  Config config = small_config();
  config.rule.importance_source = ImportanceSource::key;
  config.rule.importance_slopes = 1;
  Cache cache{config};
  EXPECT_NO_THROW(feed(cache, 0, 30, 1));
  EXPECT_EQ(Cache::required_bytes(config).total, Cache::required_bytes(small_config()).total);
}

TEST(ImportanceSettings, SizeTheState) {
  const auto state = [](ImportanceSource source, int32_t slopes) {
    return Cache::required_bytes(with_importance(source, slopes)).state;
  };
  const uint64_t numbers = 2 * 3 * 2 * 64 * sizeof(float);  // of layers, sequences, heads and padded slots
  const uint64_t given = state(ImportanceSource::given, 0);
  EXPECT_EQ(given, Cache::required_bytes(small_config()).state + numbers);
  EXPECT_EQ(state(ImportanceSource::given, 1), given + numbers);
  EXPECT_GT(state(ImportanceSource::key, 0), given);
}

}  // namespace
}  // namespace hashevict::test
