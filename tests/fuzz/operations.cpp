// SPDX-License-Identifier: Apache-2.0
// Random sequences of valid calls; after each, a cache's invariants must hold.
#include <algorithm>
#include <random>
#include <set>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr uint64_t kSeed = 20240609;

/// The invariants of one layer at any moment.
void expect_invariants(const Cache& cache, int32_t layer, const std::vector<int64_t>& seen) {
  const Config config = cache.config();
  for (int64_t sequence = 0; sequence < config.shape.num_sequences; ++sequence) {
    const int64_t expected = seen[static_cast<size_t>(sequence)];
    for (int32_t head = 0; head < config.shape.num_kv_heads; ++head) {
      const View view = cache.view(layer, head);
      const int64_t capacity = view.positions.shape[1];
      const int32_t length = view.lengths.data_as<const int32_t>()[sequence * view.lengths.stride[0]];
      ASSERT_EQ(view.tokens_seen.data_as<const int32_t>()[sequence * view.tokens_seen.stride[0]], expected);
      ASSERT_EQ(length, std::min(expected, capacity));
      const int32_t* const positions = view.positions.data_as<const int32_t>() + sequence * view.positions.stride[0];
      const std::set<int32_t> held(positions, positions + length);
      ASSERT_EQ(held.size(), static_cast<size_t>(length)) << "a position is held twice";
      ASSERT_TRUE(std::all_of(positions + length, positions + capacity, [](int32_t p) { return p == -1; }));
      if (length == 0) continue;
      ASSERT_GE(*held.begin(), 0);
      ASSERT_EQ(*held.rbegin(), expected - 1) << "the newest token is not held";
      for (int32_t sink = 0; sink < std::min(config.rule.num_sink_tokens, length); ++sink) {
        ASSERT_EQ(held.count(sink), 1U) << "sink " << sink << " was evicted";
      }
      for (int64_t recent = std::max<int64_t>(0, expected - 1 - config.rule.recent_window); recent < expected;
           ++recent) {
        ASSERT_EQ(held.count(static_cast<int32_t>(recent)), 1U) << "recent token " << recent << " was evicted";
      }
    }
  }
}

Config random_config(std::mt19937_64& random) {
  Config config = small_config();
  config.rule.policy = static_cast<Policy>(random() % 7);
  config.rule.importance_source = static_cast<ImportanceSource>(random() % 2);
  config.rule.importance_slopes = static_cast<int32_t>(random() % 2);
  config.rule.hash_bits = 8 << random() % 5;
  config.rule.hash_source = static_cast<HashSource>(random() % 2);
  if (config.rule.policy != Policy::window) config.rule.tie = static_cast<Tie>(random() % 2);
  config.rule.pin_prompt = random() % 2 == 0;
  config.rule.projection_kind = static_cast<ProjectionKind>(random() % 3);
  config.rule.projection_per_head = random() % 2 == 0;
  config.placement.layout = static_cast<Layout>(random() % 3);
  config.placement.page_size = static_cast<int32_t>(1 + random() % 24);
  config.shape.head_dim = static_cast<int32_t>(8 * (1 + random() % 5));
  config.rule.num_sink_tokens = static_cast<int32_t>(random() % 6);
  config.rule.recent_window = static_cast<int32_t>(random() % 12);
  config.shape.capacity = static_cast<int32_t>(17 + random() % 20);
  if (config.placement.layout == Layout::head_major && random() % 2 == 0) {  // at least sinks + recent + 1
    for (int head = 0; head < 4; ++head) {
      config.shape.capacities.push_back(static_cast<int32_t>(random() % 3 == 0 ? 17 : 17 + random() % 60));
    }
  }
  config.execution.num_threads = static_cast<int32_t>(1 + random() % 2);
  config.rule.seed = random();
  return config;
}

/// Makes one call with a random batch and returns how many tokens each sequence took.
std::vector<int64_t> random_step(Cache& cache, const Config& config, std::mt19937_64& random, int32_t layer) {
  std::vector<int32_t> sequences{0, 1, 2};
  std::shuffle(sequences.begin(), sequences.end(), random);
  if (random() % 4 == 0) sequences[random() % 3] = -1;
  std::vector<int32_t> tokens(3);
  for (int32_t& count : tokens) count = static_cast<int32_t>(random() % 9);
  const int64_t total = tokens[0] + tokens[1] + tokens[2];
  std::vector<int64_t> taken(3);
  if (total == 0) return taken;
  StepData data{config, total, random()};
  data.set_rows(tokens);
  data.set_sequences(sequences);
  data.args.layer = layer;
  switch (random() % 4) {
    case 0:
      cache.decode(data.args, Stream{});
      break;
    case 1:
      cache.append(data.args, Stream{});
      break;
    case 2:
      cache.evict(data.args, Stream{});
      break;
    default:
      if (config.rule.pin_prompt == 0 && random() % 2 == 0) data.args.attention = HASHEVICT_PREFILL_STREAMED;
      cache.prefill(data.args, Stream{});
      break;
  }
  for (size_t row = 0; row < 3; ++row) {
    if (sequences[row] >= 0) taken[static_cast<size_t>(sequences[row])] += tokens[row];
  }
  return taken;
}

/// Tokens seen per layer and sequence, counted outside the cache.
using Seen = std::vector<std::vector<int64_t>>;

void random_call(Cache& cache, const Config& config, std::mt19937_64& random, Seen& seen) {
  const auto a = static_cast<int32_t>(random() % 3);
  const auto b = static_cast<int32_t>((static_cast<uint64_t>(a) + 1 + random() % 2) % 3);
  const auto at = [](int32_t sequence) { return static_cast<size_t>(sequence); };
  switch (random() % 12) {
    case 0:
      cache.reset(a, Stream{});
      for (auto& layer : seen) layer[at(a)] = 0;
      break;
    case 1:
      cache.fork(a, b, Stream{});
      for (auto& layer : seen) layer[at(b)] = layer[at(a)];
      break;
    case 2: {
      const std::vector<std::byte> saved = cache.save(a, Stream{});
      cache.load(b, saved.data(), saved.size(), Stream{});
      for (auto& layer : seen) layer[at(b)] = layer[at(a)];
      break;
    }
    default: {
      const size_t layer = random() % 2;
      const std::vector<int64_t> taken = random_step(cache, config, random, static_cast<int32_t>(layer));
      for (size_t sequence = 0; sequence < 3; ++sequence) seen[layer][sequence] += taken[sequence];
    }
  }
}

TEST(FuzzOperations, InvariantsHoldAfterEveryCall) {
  for (uint64_t i = 0; i < 60; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    std::mt19937_64 random{kSeed + i};
    const Config config = random_config(random);
    const PagedMemory pages{config};
    Cache cache{config, config.placement.layout == Layout::paged ? pages.memory : Memory{}};
    if (config.rule.projection_kind == ProjectionKind::learned) learn_projections(cache, kSeed + i);
    set_importance_weights(cache, kSeed + i);
    Seen seen(2, std::vector<int64_t>(3));
    for (int call = 0; call < 60; ++call) {
      random_call(cache, config, random, seen);
      for (int32_t layer = 0; layer < 2; ++layer) {
        expect_invariants(cache, layer, seen[static_cast<size_t>(layer)]);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "call " << call;
      }
    }
  }
}

}  // namespace
}  // namespace hashevict::test
