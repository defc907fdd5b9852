// SPDX-License-Identifier: Apache-2.0
// A fixed set of calls on the kernels, small enough to be repeated for each planted bug. It must fail for every mutant
// and pass for the unchanged kernels.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "simt/runtime.hpp"
#include "support/array.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

constexpr Backend kBackend = Backend::cuda;

/// Takes tokens of two sequences; one of them does not fill up.
void take_tokens(Config config, Operation operation, Flavour flavour, Arrangement arrangement = Arrangement::owned) {
  Twins twins{kBackend, config, arrangement};
  Inputs inputs{1};
  twins.run(operation, {{1, inputs.draw(config, 40, DType::float32, flavour)},
                        {-1, inputs.draw(config, 2)},
                        {0, inputs.draw(config, 9, DType::float32, flavour)}});
  twins.run(operation, {{0, inputs.draw(config, 3)}, {1, inputs.draw(config, 3)}});
  twins.expect_same_state();
}

TEST(Mutants, EvictAgreesWithTheOracle) {
  for (const Policy policy : {Policy::hash, Policy::random, Policy::superseded, Policy::mean, Policy::votes}) {
    Config config = small_config();
    config.rule.policy = policy;
    take_tokens(config, Operation::evict, Flavour::normal);
  }
}

TEST(Mutants, ImportancesAgree) {
  for (const ImportanceSource source : {ImportanceSource::given, ImportanceSource::key}) {
    Config config = small_config();
    config.rule.policy = Policy::importance;
    config.rule.importance_source = source;
    config.rule.importance_slopes = 1;
    take_tokens(config, Operation::evict, Flavour::normal);
    take_tokens(config, Operation::prefill, Flavour::normal);
  }
}

TEST(Mutants, EvictOfEqualsAndOfSpecialNumbersAgrees) {
  take_tokens(small_config(), Operation::evict, Flavour::repeated);
  Config config = small_config();
  config.rule.hash_bits = 128;
  config.rule.policy = Policy::superseded;
  take_tokens(config, Operation::evict, Flavour::special);
}

TEST(Mutants, AppendAgreesWithTheOracleInPages) {
  take_tokens(small_config(), Operation::append, Flavour::normal, Arrangement::padded_pages);
}

/// The heads have as many pages, so that a neighbour's row of the table shows by its keys alone.
TEST(Mutants, AppendAgreesWithTheOracleInPagesOfHeads) {
  Config config = small_config();
  config.shape.capacities = {25, 24};
  take_tokens(config, Operation::append, Flavour::normal, Arrangement::padded_head_pages);
}

/// Vectors at addresses that vector accesses must not touch.
TEST(Mutants, DecodeReadsUnalignedVectors) {
  const Config config = small_config();
  TestCache cache{kBackend, config};
  const std::vector<float> numbers = Inputs{2}.floats(1 + 4 * 16);
  const Array memory{kBackend, DType::float32, {static_cast<int64_t>(numbers.size())}, numbers};
  const Array out{kBackend, DType::float32, {1, 4, 16}};
  const float* const first = memory.tensor().data_as<float>() + 1;
  DecodeArgs args;
  args.q = Tensor{first, {1, 4, 16}};
  args.k = Tensor{first, {1, 2, 16}};
  args.v = Tensor{first, {1, 2, 16}};
  args.out = out.tensor();
  cache.cache().decode(args, Stream{});
  const std::vector<std::byte> keys = cache.state(0, 0).keys;
  ASSERT_EQ(keys.size(), 2 * 16 * sizeof(float));
  EXPECT_EQ(std::memcmp(keys.data(), numbers.data() + 1, keys.size()), 0) << "keys differ";
}

TEST(Mutants, PinnedPromptAndCentresAgree) {
  Config config = small_config();
  config.rule.pin_prompt = true;
  config.rule.centering = Centering::prompt;
  Twins twins{kBackend, config};
  Inputs inputs{3};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 30, DType::float32, Flavour::biased)}});
  twins.run(Operation::append, {{0, inputs.draw(config, 20, DType::float32, Flavour::biased)}});
  twins.expect_same_state();
}

/// Runs a case on a device without clusters, then on one that has them.
template <class Case>
void run_on_both_devices(const Case& run) {
  std::vector<int32_t>& capabilities = simt::Devices::instance().capabilities;
  for (const int32_t capability : {80, 90}) {
    SCOPED_TRACE(testing::Message() << "compute capability " << capability);
    capabilities = {capability};
    run();
  }
}

void decode_over_splits() {
  Config config = small_config();
  config.shape.capacity = 600;
  config.execution.max_batch_tokens = 1024;
  Twins twins{kBackend, config, Arrangement::strided};
  Inputs inputs{4};
  twins.run(Operation::prefill, {{1, inputs.draw(config, 610)}, {0, inputs.draw(config, 300)}});
  for (int step = 0; step < 3; ++step) {
    twins.run(Operation::decode, {{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}});
  }
  twins.run(Operation::decode, {{0, inputs.draw(config, 2)}});
  twins.run(Operation::attend, {{1, inputs.draw(config, 1)}});
  twins.run(Operation::attend, {{0, inputs.draw(config, 2)}});
  twins.expect_same_state();
}

TEST(Mutants, DecodeAgreesWithTheOracleOverSplits) {
  run_on_both_devices(decode_over_splits);
}

void decode_with_importances() {
  for (const ImportanceSource source : {ImportanceSource::given, ImportanceSource::key}) {
    Config config = small_config();
    config.rule.policy = Policy::importance;
    config.rule.importance_source = source;
    config.rule.importance_slopes = 1;
    take_tokens(config, Operation::decode, Flavour::normal);
  }
}

TEST(Mutants, DecodeFindsImportances) {
  run_on_both_devices(decode_with_importances);
}

/// A head with the least slots beside one with several splits, of which the sequence fills a part.
TEST(Mutants, RaggedHeadsAgree) {
  Config config = small_config();
  config.shape.capacities = {8, 300};
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    Options options;
    options.mode = mode;
    options.window = 6;
    Twins twins{kBackend, config};
    Inputs inputs{7};
    twins.run(Operation::prefill, {{1, inputs.draw(config, 280)}, {0, inputs.draw(config, 20)}}, options);
    twins.run(Operation::attend, {{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}});
    twins.run(Operation::append, {{0, inputs.draw(config, 2)}});
    twins.run(Operation::decode, {{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}});
    twins.expect_same_state();
  }
}

void decode_groups_on_tensor_cores() {
  Config config = small_config();
  config.shape.num_qo_heads = 5 * config.shape.num_kv_heads;
  config.shape.head_dim = 40;
  config.shape.capacity = 30;
  config.shape.dtype = DType::bfloat16;
  Options options;
  options.input = DType::bfloat16;
  Twins twins{kBackend, config};
  Inputs inputs{6};
  const auto draw = [&](std::size_t count) { return inputs.draw(config, count, options.input); };
  twins.run(Operation::append, {{0, draw(30)}, {1, draw(5)}}, options);
  twins.run(Operation::attend, {{0, draw(2)}, {1, draw(1)}}, options);
  for (int step = 0; step < 3; ++step) twins.run(Operation::decode, {{0, draw(1)}, {1, draw(1)}}, options);
}

TEST(Mutants, GroupsOnTensorCoresAgree) {
  run_on_both_devices(decode_groups_on_tensor_cores);
}

/// A value that is not a number leaves with its slot: the query of the same step does not see it.
void decode_over_a_victim_without_numbers(int32_t group, DType dtype) {
  Config config = small_config();
  config.rule.policy = Policy::window;
  config.shape.num_qo_heads = group * config.shape.num_kv_heads;
  config.shape.dtype = dtype;
  Options options;
  options.input = dtype;
  Twins twins{kBackend, config};
  Inputs inputs{10};
  reference::Tokens tokens = inputs.draw(config, static_cast<std::size_t>(config.shape.capacity), dtype);
  const auto of_token = static_cast<std::ptrdiff_t>(config.shape.num_kv_heads * config.shape.head_dim);
  const auto victim = tokens.v.begin() + config.rule.num_sink_tokens * of_token;
  std::fill(victim, victim + of_token, std::numeric_limits<float>::quiet_NaN());
  twins.run(Operation::append, {{0, tokens}}, options);
  twins.run(Operation::decode, {{0, inputs.draw(config, 1, dtype)}}, options);
}

TEST(Mutants, VictimsThatAreNotNumbersAgree) {
  run_on_both_devices([] { decode_over_a_victim_without_numbers(2, DType::float32); });
  run_on_both_devices([] { decode_over_a_victim_without_numbers(5, DType::bfloat16); });
}

/// A rule that reads the head's running sums.
void decode_means(int32_t group) {
  Config config = small_config();
  config.rule.policy = Policy::mean;
  config.shape.num_qo_heads = group * config.shape.num_kv_heads;
  config.shape.capacity = 520;
  config.shape.dtype = DType::bfloat16;
  config.execution.max_batch_tokens = 1024;
  Options options;
  options.input = DType::bfloat16;
  options.mode = PrefillMode::recent;
  Twins twins{kBackend, config};
  Inputs inputs{9};
  const auto draw = [&](std::size_t count) { return inputs.draw(config, count, options.input); };
  twins.run(Operation::prefill, {{1, draw(522)}}, options);
  for (int step = 0; step < 3; ++step) twins.run(Operation::decode, {{1, draw(1)}}, options);
  twins.run(Operation::decode, {{1, draw(2)}}, options);
  twins.expect_same_state();
}

/// Several tiles of queries have a barrier of the cluster between them, one tile has none.
TEST(Mutants, MeansAgreeForOneTileAndForSeveral) {
  run_on_both_devices([] { decode_means(1); });
  run_on_both_devices([] { decode_means(9); });
}

/// A prompt on top of a full cache, which evicts keys of both, and one on top of a head with room.
void attend_prompts(const Config& config, PrefillAttention attention, DType input) {
  Options options;
  options.attention = attention;
  options.input = input;
  Twins twins{kBackend, config};
  Inputs inputs{8};
  twins.run(Operation::prefill, {{1, inputs.draw(config, 31, input)}, {0, inputs.draw(config, 5, input)}}, options);
  twins.run(Operation::prefill, {{0, inputs.draw(config, 40, input)}, {1, inputs.draw(config, 75, input)}}, options);
  twins.expect_same_state();
}

TEST(Mutants, PromptsAttentionAgrees) {
  Config config = small_config();
  config.shape.capacities = {24, 90};
  for (const PrefillAttention attention : {PrefillAttention::streamed, PrefillAttention::full}) {
    attend_prompts(config, attention, DType::float32);
  }
}

TEST(Mutants, PromptsAttentionOnTensorCoresAgrees) {
  Config config = small_config();
  config.shape.dtype = DType::bfloat16;
  config.shape.num_qo_heads = 4 * config.shape.num_kv_heads;
  config.shape.capacity = 70;
  attend_prompts(config, PrefillAttention::streamed, DType::bfloat16);
}

/// Replays over heads of a few hundred slots, of whose buckets some lose three to a chunk.
TEST(Mutants, BucketsOfManySlotsAgree) {
  for (const Policy policy : {Policy::superseded, Policy::votes}) {
    Config config = small_config();
    config.shape.num_kv_heads = 1;
    config.shape.head_dim = 8;
    config.shape.capacity = 600;
    config.rule.policy = policy;
    config.rule.hash_bits = 64;
    config.execution.max_batch_tokens = 1024;
    Twins twins{kBackend, config};
    Inputs inputs{3};
    Options fill;
    fill.mode = PrefillMode::recent;
    twins.run(Operation::prefill, {{0, inputs.draw(config, 590)}}, fill);
    twins.run(Operation::prefill, {{0, inputs.draw(config, 250)}});
    twins.run(Operation::append, {{0, inputs.draw(config, 2)}});
    twins.expect_same_state();
  }
}

TEST(Mutants, PrefillAgreesWithTheOracle) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    const Config config = small_config();
    Twins twins{kBackend, config};
    Inputs inputs{5};
    Options options;
    options.mode = mode;
    options.window = 6;
    twins.run(Operation::prefill, {{1, inputs.draw(config, 20)}, {0, inputs.draw(config, 50)}}, options);
    twins.run(Operation::prefill, {{1, inputs.draw(config, 30)}}, options);
    twins.expect_same_state();
  }
}

/// More slots than kMostSplits splits of the smallest size have, so that a split has several stages.
void decode_long_heads() {
  Config config = small_config();
  config.shape.num_sequences = 1;
  config.shape.num_qo_heads = config.shape.num_kv_heads = 1;
  config.shape.head_dim = 8;
  config.shape.capacity = 8300;
  config.execution.max_batch_tokens = 8400;
  Options options;
  options.mode = PrefillMode::recent;
  Twins twins{kBackend, config};
  Inputs inputs{5};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 8310)}}, options);
  for (int step = 0; step < 2; ++step) twins.run(Operation::decode, {{0, inputs.draw(config, 1)}});
  twins.run(Operation::attend, {{0, inputs.draw(config, 1)}});
  twins.expect_same_state();
}

TEST(Mutants, LongHeadsAgreeOverSplits) {
  run_on_both_devices(decode_long_heads);
}

}  // namespace
}  // namespace hashevict::test
