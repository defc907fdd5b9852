// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <random>

#include "support/backend_test.hpp"
#include "support/twins.hpp"

/// Random calls on random caches against the oracle, for combinations that no list of cases would contain.
namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(Random);

/// Draws from lists and ranges.
class Dice {
 public:
  explicit Dice(uint32_t seed) : engine_{seed} {}
  int32_t below(int32_t end) { return static_cast<int32_t>(engine_() % static_cast<uint32_t>(end)); }
  bool one_in(int32_t n) { return below(n) == 0; }
  template <class T, int32_t count>
  T pick(const T (&list)[count]) {
    return list[below(count)];
  }

 private:
  std::mt19937 engine_;
};

Config random_config(Dice& dice) {
  Config config = small_config();
  config.shape.num_layers = 1 + dice.below(2);
  config.shape.num_sequences = 1 + dice.below(4);
  config.shape.num_kv_heads = 1 + dice.below(3);
  config.shape.num_qo_heads = config.shape.num_kv_heads * dice.pick({1, 2, 3, 4, 8});
  config.shape.head_dim = 8 * (1 + dice.below(12));
  config.shape.dtype = dice.pick(kFloats);
  config.shape.kv_head_offset = dice.below(5);
  config.rule.num_sink_tokens = dice.below(5);
  config.rule.recent_window = dice.below(6);
  config.shape.capacity = 12 + dice.below(70);
  if (dice.one_in(4)) config.rule.recent_fraction = 0.4F;  // of at least 12 slots: fits with 4 sinks and 4 recent
  if (dice.one_in(4)) config.rule.sink_fraction = 0.15F;
  config.rule.policy = dice.pick(kPolicies);
  config.rule.hash_bits = dice.pick({8, 16, 32, 64, 128});
  config.rule.hash_source = dice.pick({HashSource::query, HashSource::key});
  config.rule.tie = dice.pick({Tie::oldest, Tie::lowest_slot});
  config.rule.importance_source = dice.pick({ImportanceSource::given, ImportanceSource::key});
  config.rule.importance_slopes = dice.one_in(2);
  config.rule.pin_prompt = dice.one_in(3);
  config.rule.seed = static_cast<uint64_t>(dice.below(1 << 30)) << 20;
  config.rule.centering = dice.pick({Centering::none, Centering::none, Centering::prompt, Centering::fixed});
  config.rule.projection_kind = dice.pick({ProjectionKind::gaussian, ProjectionKind::orthogonal});
  config.rule.projection_per_head = dice.one_in(2);
  config.placement.layout = dice.pick(kDenseLayouts);
  config.placement.page_size = 1 + dice.below(20);
  if (dice.one_in(2)) {  // each head has its own slots; some have several splits and are never full
    config.placement.layout = Layout::head_major;
    for (int32_t i = 0; i < config.shape.num_layers * config.shape.num_kv_heads; ++i) {
      config.shape.capacities.push_back(dice.pick({12, 13, 12 + dice.below(70), 12 + dice.below(70), 600}));
    }
  }
  config.execution.num_threads = 1 + dice.below(3);
  return config;
}

int32_t smallest_capacity(const reference::Sequence& sequence) {
  std::size_t smallest = sequence.settings().capacity;
  for (const reference::Head& head : sequence.heads()) smallest = std::min(smallest, head.settings.capacity);
  return static_cast<int32_t>(smallest);
}

/// The attention of a prompt, if any, that the rule and the mode admit.
std::optional<PrefillAttention> attention_of_a_prompt(const Rule& rule, PrefillMode mode, Dice& dice) {
  if (dice.one_in(4)) return std::nullopt;
  const bool streams = mode == PrefillMode::replay && rule.pin_prompt == 0 && rule.centering != Centering::prompt;
  return streams && !dice.one_in(4) ? PrefillAttention::streamed : PrefillAttention::full;
}

/// Makes one call with a random batch, if the library admits it.
void run_once(Twins& twins, Dice& dice, Inputs& inputs) {
  const Config& config = twins.cache.config();
  const Operation operation = dice.pick({Operation::prefill, Operation::append, Operation::attend, Operation::decode});
  const bool prompt = operation == Operation::prefill;
  Options options;
  options.layer = dice.below(config.shape.num_layers);
  options.input = dice.pick(kFloats);
  options.output = dice.pick(kFloats);
  options.softmax_scale = dice.pick({0.0F, 0.0F, 0.3F});
  options.logit_soft_cap = dice.pick({0.0F, 0.0F, 6.0F});
  options.mode = dice.pick({PrefillMode::replay, PrefillMode::window, PrefillMode::recent});
  options.window = 1 + dice.below(12);
  options.attention = attention_of_a_prompt(rule_of(config, options.layer), options.mode, dice);
  options.queries = dice.pick({AttendQueries::last, AttendQueries::after});
  const Flavour flavour = dice.pick({Flavour::normal, Flavour::biased, Flavour::repeated});
  Batch batch;
  const int32_t first = dice.below(config.shape.num_sequences);
  for (int32_t i = 0; i < config.shape.num_sequences; ++i) {  // every sequence at most once, in rotated order
    const int32_t sequence = (first + i) % config.shape.num_sequences;
    if (dice.one_in(5)) batch.push_back({-1, inputs.draw(config, 2, options.input)});
    const int32_t seen = twins.oracle(options.layer, sequence).heads().front().tokens_seen;
    int32_t count = dice.below(prompt ? 90 : 5);
    const int32_t capacity = smallest_capacity(twins.oracle(options.layer, sequence));
    if (operation == Operation::attend && options.queries == AttendQueries::last) {
      count = std::min(count, seen);
      if (seen > capacity) count = std::min(count, 1);  // the sequence has evicted
    }
    const bool overflows = seen + count > capacity;
    const bool refused =
        prompt && seen > 0 &&
        (config.rule.centering == Centering::prompt || (options.mode == PrefillMode::window && overflows));
    if (refused) continue;
    batch.push_back({sequence, inputs.draw(config, static_cast<std::size_t>(count), options.input, flavour)});
  }
  twins.run(operation, batch, options);
}

void run_sequence_call(Twins& twins, Dice& dice) {
  const int32_t source = dice.below(twins.cache.config().shape.num_sequences);
  const int32_t target = dice.below(twins.cache.config().shape.num_sequences);
  switch (dice.below(3)) {
    case 0:
      twins.cache.cache().reset(target, Stream{});
      twins.reset_oracle(target);
      break;
    case 1:
      if (source == target) break;
      twins.cache.cache().fork(source, target, Stream{});
      twins.fork_oracle(source, target);
      break;
    default: {
      const auto saved = twins.cache.cache().save(source, Stream{});
      twins.cache.cache().load(target, saved.data(), saved.size(), Stream{});
      twins.fork_oracle(source, target);
    }
  }
}

void set_centers(Twins& twins, Inputs& inputs) {
  const Config& config = twins.cache.config();
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const auto key_center = inputs.floats(static_cast<std::size_t>(config.shape.num_kv_heads * config.shape.head_dim));
    const auto query_center =
        inputs.floats(static_cast<std::size_t>(config.shape.num_qo_heads * config.shape.head_dim));
    twins.cache.cache().set_center(layer, 0,
                                   Tensor{key_center.data(), {config.shape.num_kv_heads, config.shape.head_dim}},
                                   Tensor{query_center.data(), {config.shape.num_qo_heads, config.shape.head_dim}});
    twins.oracle(layer, 0).set_center(key_center, query_center);
  }
}

TEST_P(Random, CallsOnRandomCachesGiveTheOraclesState) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Dice dice{seed};
    Inputs inputs{seed};
    const Config config = random_config(dice);
    const auto arrangement = static_cast<Arrangement>(dice.below(config.shape.capacities.empty() ? 5 : 3));
    Twins twins{GetParam(), config, arrangement};
    if (config.rule.centering == Centering::fixed) set_centers(twins, inputs);
    for (int call = 0; call < 14; ++call) {
      SCOPED_TRACE(testing::Message() << "call " << call);
      if (dice.one_in(6)) run_sequence_call(twins, dice);
      run_once(twins, dice, inputs);
      twins.expect_same_state();
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hashevict::test
