// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "support.hpp"

namespace hashevict::test {
namespace {

TEST(Lifecycle, NewCacheIsEmpty) {
  Cache cache{small_config()};
  const Statistics statistics = cache.statistics(Stream{});
  EXPECT_EQ(statistics.tokens_seen, 0);
  EXPECT_EQ(statistics.slots_used, 0);
  EXPECT_EQ(statistics.slots_total, 2 * 2 * 3 * 20);  // layers, heads, sequences, slots
  EXPECT_EQ(statistics.evictions, 0);
}

TEST(Lifecycle, MoveTakesTheHandleAlong) {
  Cache source = used_cache();
  const hashevict_cache* const handle = source.handle();
  const std::vector<std::byte> before = save_all(source);
  Cache target{std::move(source)};
  EXPECT_EQ(target.handle(), handle);
  EXPECT_EQ(source.handle(), nullptr);  // NOLINT(bugprone-use-after-move): the case under test
  EXPECT_EQ(save_all(target), before);
}

TEST(Lifecycle, MoveAssignmentFreesTheOldCache) {
  Cache target = used_cache();
  Cache source{small_config()};
  const hashevict_cache* const handle = source.handle();
  target = std::move(source);
  EXPECT_EQ(target.handle(), handle);
  EXPECT_EQ(target.statistics(Stream{}).tokens_seen, 0);
}

TEST(Lifecycle, CacheThatWasMovedFromThrows) {
  Cache source = used_cache();
  const Cache target{std::move(source)};
  const StepData data{small_config(), 1, 1};
  // NOLINTBEGIN(bugprone-use-after-move): the case under test
  EXPECT_THROW(source.decode(data.args, Stream{}), Error);
  EXPECT_THROW((void)source.view(0, 0), Error);
  EXPECT_THROW((void)source.config(), Error);
  EXPECT_THROW((void)source.save_bytes(), Error);
  EXPECT_THROW(source.reset(Stream{}), Error);
  // NOLINTEND(bugprone-use-after-move)
}

TEST(Lifecycle, CachesAreIndependent) {
  Cache first = used_cache();
  Cache second = used_cache();
  const std::vector<std::byte> before = save_all(second);
  feed(first, 0, 5, 900);
  first.reset(Stream{});
  EXPECT_EQ(save_all(second), before);
}

TEST(Lifecycle, CapacitiesAreCopied) {
  Config config = small_config();
  std::vector<int32_t> capacities{16, 24, 15, 40};
  hashevict_config c = c_config_of(config);
  c.shape.capacities = capacities.data();
  hashevict_cache* cache = nullptr;
  ASSERT_EQ(hashevict_cache_create(&c, nullptr, &cache, nullptr), HASHEVICT_OK);
  capacities.assign(4, -1);
  hashevict_config read;
  hashevict_config_init(&read);
  ASSERT_EQ(hashevict_get_config(cache, &read, nullptr), HASHEVICT_OK);
  EXPECT_NE(read.shape.capacities, capacities.data());
  EXPECT_THAT(std::vector<int32_t>(read.shape.capacities, read.shape.capacities + 4),
              ::testing::ElementsAre(16, 24, 15, 40));
  hashevict_cache_destroy(cache);
}

TEST(Lifecycle, ManyCachesComeAndGo) {
  for (int i = 0; i < 50; ++i) {
    Config config = small_config();
    config.execution.num_threads = 1 + i % 3;
    Cache cache{config};
    feed(cache, 0, 2, 1);
  }
}

TEST(Lifecycle, TooLargeForMemoryIsReportedAsSuch) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's allocator ends the program instead";
  Config config = small_config();
  config.shape.num_layers = 64;
  config.shape.num_sequences = 1 << 12;
  config.shape.num_qo_heads = config.shape.num_kv_heads = 64;
  config.shape.head_dim = 256;
  config.shape.capacity = 1 << 20;
  config.execution.max_batch_tokens = 0;
  const hashevict_config c = c_config_of(config);
  hashevict_cache* cache = nullptr;
  expect_refused(outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&c, nullptr, &cache, error); }),
                 {HASHEVICT_OUT_OF_MEMORY, {}});
  EXPECT_EQ(cache, nullptr);
}

TEST(Capabilities, SayWhatThisBuildDoes) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  EXPECT_EQ(capabilities.version_major, HASHEVICT_VERSION_MAJOR);
  EXPECT_EQ(capabilities.version_minor, HASHEVICT_VERSION_MINOR);
  EXPECT_EQ(capabilities.version_patch, HASHEVICT_VERSION_PATCH);
  EXPECT_EQ(capabilities.max_head_dim, 256);
  EXPECT_GE(capabilities.num_hardware_threads, 1);
  EXPECT_GT(std::string{capabilities.cpu_target}.size(), 0U);
  EXPECT_LT(std::string{capabilities.cpu_target}.size(), sizeof capabilities.cpu_target);
  EXPECT_FALSE(capabilities.supports(static_cast<Policy>(31)));
  EXPECT_FALSE(capabilities.supports(static_cast<Layout>(-1)));
  EXPECT_FALSE(capabilities.supports(DType::int32));
}

/// Whether a cache of this config can be created and used.
bool works(const Config& config) {
  try {
    Cache cache{config};
    feed(cache, 0, config.shape.capacity + 1, 5);
    return true;
  } catch (const Error&) {
    return false;
  }
}

TEST(Capabilities, OfPoliciesAreTrue) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  for (int32_t policy = 0; policy < 32; ++policy) {
    Config config = small_config();
    config.rule.policy = static_cast<Policy>(policy);
    EXPECT_EQ(capabilities.supports(config.rule.policy), works(config)) << policy;
  }
}

TEST(Capabilities, OfHashBitsAreTrue) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  for (int bit = 0; bit < 20; ++bit) {
    Config config = small_config();
    config.rule.hash_bits = 1 << bit;
    EXPECT_EQ(((capabilities.hash_bits_mask >> bit) & 1U) != 0, works(config)) << config.rule.hash_bits;
  }
}

TEST(Capabilities, OfStorageDtypesAreTrue) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  for (int32_t dtype = 0; dtype < 8; ++dtype) {
    Config config = small_config();
    config.shape.dtype = static_cast<DType>(dtype);
    EXPECT_EQ(capabilities.supports(config.shape.dtype), works(config)) << dtype;
  }
}

TEST(Capabilities, OfLayoutsAreTrue) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  EXPECT_TRUE(capabilities.supports(Layout::head_major) && works(small_config()));
  Config config = small_config();
  config.placement.layout = Layout::slot_major;
  EXPECT_TRUE(capabilities.supports(Layout::slot_major) && works(config));
  const Config paged = small_paged_config();
  const PagedMemory lent{paged};
  Cache cache{paged, lent.memory};
  feed(cache, 0, paged.shape.capacity + 1, 5);
  EXPECT_TRUE(capabilities.supports(Layout::paged));
  const Config of_heads = small_config_of_head_pages();
  const PagedMemory lent_to_heads{of_heads};
  Cache ragged{of_heads, lent_to_heads.memory};
  feed(ragged, 0, 50, 5);
  EXPECT_TRUE(capabilities.supports(Layout::paged_per_head));
}

TEST(Capabilities, OfPrefillModesAreTrue) {
  const Capabilities capabilities = Cache::capabilities(Backend::cpu);
  for (int32_t mode = 0; mode < 32; ++mode) {
    Cache cache{small_config()};
    StepData data{small_config(), 40, 6};
    data.set_rows({40});
    data.args.mode = mode;
    bool done = true;
    try {
      cache.prefill(data.args, Stream{});
    } catch (const Error&) {
      done = false;
    }
    EXPECT_EQ(capabilities.supports(static_cast<PrefillMode>(mode)), done) << mode;
  }
}

TEST(Capabilities, LargestHeadDimWorksAndTheNextDoesNot) {
  Config config = small_config();
  config.shape.head_dim = Cache::capabilities(Backend::cpu).max_head_dim;
  EXPECT_TRUE(works(config));
  config.shape.head_dim += 8;
  EXPECT_FALSE(works(config));
}

}  // namespace
}  // namespace hashevict::test
