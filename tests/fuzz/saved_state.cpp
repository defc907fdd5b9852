// SPDX-License-Identifier: Apache-2.0
// Random or damaged bytes in place of a saved state: load() refuses them and the sequence stays as it was.
#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr uint64_t kSeed = 20240607;
constexpr int kIterations = 20000;

/// Damages bytes in one of several ways.
void damage(std::vector<std::byte>& bytes, std::mt19937_64& random) {
  const auto at = [&](size_t size) { return static_cast<std::ptrdiff_t>(random() % size); };
  switch (random() % 5) {
    case 0:  // overwrites some bytes at random
      for (uint64_t i = 0; i <= random() % 8; ++i) {
        bytes[static_cast<size_t>(at(bytes.size()))] = static_cast<std::byte>(random());
      }
      break;
    case 1:  // cuts off a random end
      bytes.resize(static_cast<size_t>(at(bytes.size())) + 1);
      break;
    case 2: {  // sets a word to an extreme value
      const uint64_t words[] = {0, 1, UINT64_MAX, INT64_MAX, uint64_t{1} << 63, INT32_MAX, UINT32_MAX};
      const uint64_t word = words[random() % 7];
      std::memcpy(bytes.data() + random() % (bytes.size() / 8) * 8, &word, sizeof word);
      break;
    }
    case 3:  // removes bytes
      bytes.erase(bytes.begin() + at(bytes.size() - 1));
      break;
    default:  // inserts bytes
      bytes.insert(bytes.begin() + at(bytes.size()), static_cast<std::byte>(random()));
      break;
  }
}

TEST(FuzzLoad, DamagedStatesAreRefusedOrTheSame) {
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937_64 random{kSeed};
  Cache source = used_cache();
  Cache target = used_cache();
  const std::array saved{source.save(0, Stream{}), source.save(1, Stream{}), source.save(2, Stream{})};
  const std::vector<std::byte> before = target.save(1, Stream{});
  for (int i = 0; i < kIterations; ++i) {
    const std::vector<std::byte>& original = saved[random() % saved.size()];
    std::vector<std::byte> bytes = original;
    damage(bytes, random);
    const hashevict_status status = hashevict_load(target.handle(), 1, bytes.data(), bytes.size(), nullptr, nullptr);
    if (status == HASHEVICT_OK) {
      // The damage changed nothing, or only bytes behind the end of the state.
      ASSERT_GE(bytes.size(), original.size()) << "iteration " << i;
      ASSERT_TRUE(std::equal(original.begin(), original.end(), bytes.begin())) << "iteration " << i;
      target.load(1, before.data(), before.size(), Stream{});
    } else {
      ASSERT_EQ(status, HASHEVICT_INVALID_DATA) << "iteration " << i;
    }
  }
  EXPECT_EQ(target.save(1, Stream{}), before);
}

TEST(FuzzLoad, NoiseIsRefused) {
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937_64 random{kSeed + 1};
  Cache target = used_cache();
  const std::vector<std::byte> before = save_all(target);
  for (int i = 0; i < kIterations; ++i) {
    std::vector<std::byte> noise(1 + random() % 600);
    for (std::byte& b : noise) b = static_cast<std::byte>(random());
    ASSERT_EQ(hashevict_load(target.handle(), 0, noise.data(), noise.size(), nullptr, nullptr), HASHEVICT_INVALID_DATA);
  }
  EXPECT_EQ(save_all(target), before);
}

/// Which way a cache takes tokens.
struct Way {
  const char* name;
  void (*take)(Cache&, AnyArgs&);
};

constexpr std::array kWays{
    Way{"evict", [](Cache& cache, AnyArgs& args) { cache.evict(args, Stream{}); }},
    Way{"decode", [](Cache& cache, AnyArgs& args) { cache.decode(args, Stream{}); }},
    Way{"prefill, REPLAY", [](Cache& cache, AnyArgs& args) { cache.prefill(args, Stream{}); }},
    Way{"prefill, RECENT",
        [](Cache& cache, AnyArgs& args) {
          args.mode = HASHEVICT_PREFILL_RECENT;
          cache.prefill(args, Stream{});
        }},
};

/// Nobody checks that positions differ, which would take memory. If all of a head's are those of a sink, no slot is
/// evictable, and still each token goes to a slot of the head.
TEST(FuzzLoad, StateWithoutAVictimKeepsToItsSlots) {
  for (const Way& way : kWays) {
    for (const bool pin_prompt : {false, true}) {
      SCOPED_TRACE(::testing::Message() << way.name << (pin_prompt ? ", pinned" : ""));
      Config config = small_config();
      config.rule.pin_prompt = pin_prompt;
      Cache source = used_cache(config);
      for (int32_t layer = 0; layer < 2; ++layer) {
        for (int32_t head = 0; head < 2; ++head) {
          std::fill_n(source.view(layer, head).positions.data_as<int32_t>(), config.shape.capacity, 1);
        }
      }
      const std::vector<std::byte> forged = source.save(0, Stream{});
      Cache target = used_cache(config);
      const std::array others{target.save(0, Stream{}), target.save(2, Stream{})};
      target.load(1, forged.data(), forged.size(), Stream{});
      StepData data{config, 2, 5};
      data.set_rows({2});
      data.set_sequences({1});
      way.take(target, data.args);
      EXPECT_THAT(data.slots, ::testing::Each(::testing::AllOf(::testing::Ge(-1), ::testing::Lt(20))));
      EXPECT_EQ(data.slots.back(), config.rule.num_sink_tokens);
      EXPECT_EQ(target.save(0, Stream{}), others[0]);
      EXPECT_EQ(target.save(2, Stream{}), others[1]);
    }
  }
}

}  // namespace
}  // namespace hashevict::test
