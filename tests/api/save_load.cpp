// SPDX-License-Identifier: Apache-2.0
// save and load: a state that was loaded continues exactly as the saved one, in any sequence and any layout, and only
// in a cache that can continue it.
#include <memory>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// A cache and, if it is paged, the memory behind it.
struct AnyLayout {
  AnyLayout(Config config, Layout layout) {
    config.layout = layout;
    config.page_size = 8;
    if (layout == Layout::paged) paged = std::make_unique<PagedMemory>(config);
    cache = std::make_unique<Cache>(config, paged ? paged->memory : Memory{});
  }
  std::unique_ptr<PagedMemory> paged;
  std::unique_ptr<Cache> cache;
};

constexpr std::array kLayouts{Layout::head_major, Layout::slot_major, Layout::paged};

/// Outputs of some more decode steps in every layer.
std::vector<float> continue_with(Cache& cache, int32_t sequence, int64_t tokens) {
  std::vector<float> all;
  for (int64_t token = 0; token < tokens; ++token) {
    for (int32_t layer = 0; layer < cache.config().num_layers; ++layer) {
      StepData data{cache.config(), 1, static_cast<uint64_t>(1000 + 10 * token + layer)};
      data.set_sequences({sequence});
      data.step.layer = layer;
      cache.decode(data.step, Stream{});
      all.insert(all.end(), data.out.begin(), data.out.end());
      all.insert(all.end(), data.lse.begin(), data.lse.end());
      all.insert(all.end(), data.slots.begin(), data.slots.end());
      all.insert(all.end(), data.victims.begin(), data.victims.end());
    }
  }
  return all;
}

struct RuleCase {
  std::string name;
  void (*action)(Config&);
  friend void PrintTo(const RuleCase& row, std::ostream* stream) { *stream << row.name; }
};

const std::vector<RuleCase> kRules{
    {"Paper", [](Config&) {}},
    {"Authors", [](Config& c) { c.apply(Preset::authors); }},
    {"Superseded", [](Config& c) { c.apply(Preset::superseded); }},
    {"Window", [](Config& c) { c.policy = Policy::window; }},
    {"Random", [](Config& c) { c.policy = Policy::random; }},
    {"KeyNorm", [](Config& c) { c.policy = Policy::key_norm; }},
    {"Mean", [](Config& c) { c.policy = Policy::mean; }},
    {"Majority", [](Config& c) { c.policy = Policy::majority; }},
    {"Decay", [](Config& c) { c.score_decay_shift = 2; }},
    {"PinnedPrompt", [](Config& c) { c.pin_prompt = true; }},
    {"Centered", [](Config& c) { c.centering = Centering::prompt; }},
    {"ProjectionPerHead", [](Config& c) { c.projection_per_head = true; }},
    {"LayerCapacities",
     [](Config& c) {
       c.layer_capacities = {16, 20};
     }},
    {"SmallCode", [](Config& c) { c.hash_bits = 8; }},
    {"LargeCode", [](Config& c) { c.hash_bits = 128; }},
};

class SavedState : public ::testing::TestWithParam<RuleCase> {};

TEST_P(SavedState, ContinuesAlikeInEveryLayoutAndSequence) {
  Config config = small_config();
  GetParam().action(config);
  for (const int64_t tokens : {0, 7, 31}) {
    for (const Layout from : kLayouts) {
      AnyLayout source{config, from};
      StepData prompt{config, tokens, 3};
      prompt.set_sequences({1});
      prompt.set_rows({static_cast<int32_t>(tokens)});
      for (int32_t layer = 0; tokens > 0 && layer < 2; ++layer) {
        prompt.step.layer = layer;
        source.cache->prefill(prompt.step, Stream{});
      }
      const std::vector<std::byte> saved = source.cache->save(1, Stream{});
      EXPECT_LE(saved.size(), source.cache->save_bytes());
      const std::vector<float> expected = continue_with(*source.cache, 1, 30);
      for (const Layout to : kLayouts) {
        AnyLayout target{config, to};
        feed(*target.cache, 2, 25, 4000);  // is replaced
        target.cache->load(2, saved.data(), saved.size(), Stream{});
        EXPECT_EQ(target.cache->save(2, Stream{}), saved);
        EXPECT_EQ(continue_with(*target.cache, 2, 30), expected);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, SavedState, ::testing::ValuesIn(kRules),
                         [](const auto& info) { return info.param.name; });

TEST(Save, NeedsNoMoreThanItSays) {
  Cache cache = used_cache();
  const uint64_t bytes = cache.save_bytes();
  const GuardedBuffer buffer{bytes};
  for (int32_t sequence = 0; sequence < 3; ++sequence) {
    const uint64_t written = cache.save(sequence, buffer.data(), bytes, Stream{});
    EXPECT_LE(written, bytes);
    EXPECT_EQ(bytes_of(buffer.data(), written), cache.save(sequence, Stream{}));
    EXPECT_TRUE(buffer.guards_intact());
  }
}

TEST(Save, IntoTooSmallABufferWritesNothing) {
  Cache cache = used_cache();
  const uint64_t needed = cache.save(0, Stream{}).size();
  for (const uint64_t room : {uint64_t{0}, uint64_t{1}, uint64_t{100}, needed - 1}) {
    std::vector<std::byte> buffer(needed, std::byte{0x3C});
    uint64_t written = 12345;
    expect_refused(outcome_of([&](hashevict_error* error) {
                     return hashevict_save(cache.handle(), 0, buffer.data(), room, &written, error, nullptr);
                   }),
                   {HASHEVICT_INVALID_ARGUMENT, {"buffer_bytes = " + std::to_string(room), std::to_string(needed)}});
    EXPECT_EQ(written, 12345U);
    EXPECT_THAT(buffer, ::testing::Each(std::byte{0x3C}));
  }
}

TEST(Save, IntoABufferOfWhatTheStateTakesWorks) {
  Cache cache = used_cache();
  for (int32_t sequence = 0; sequence < 3; ++sequence) {
    const std::vector<std::byte> saved = cache.save(sequence, Stream{});
    std::vector<std::byte> buffer(saved.size());
    EXPECT_EQ(cache.save(sequence, buffer.data(), buffer.size(), Stream{}), saved.size());
    EXPECT_EQ(buffer, saved);
  }
}

TEST(Save, ChangesNothing) {
  Cache cache = used_cache();
  EXPECT_EQ(save_all(cache), save_all(cache));
}

TEST(Load, FromTheMiddleOfOtherBytesWorks) {
  Cache cache = used_cache();
  const std::vector<std::byte> saved = cache.save(0, Stream{});
  std::vector<std::byte> shifted(3);
  shifted.insert(shifted.end(), saved.begin(), saved.end());
  cache.load(2, shifted.data() + 3, saved.size(), Stream{});
  EXPECT_EQ(cache.save(2, Stream{}), saved);
}

// Caches that could not continue a state of small_config().
const std::vector<RuleCase> kOtherCaches{
    {"MoreLayers", [](Config& c) { c.num_layers = 3; }},
    {"FewerLayers", [](Config& c) { c.num_layers = 1; }},
    {"OtherGroup", [](Config& c) { c.num_qo_heads = 6; }},
    {"OtherHeads", [](Config& c) { c.num_qo_heads = c.num_kv_heads = 4; }},
    {"OtherShard", [](Config& c) { c.kv_head_offset = 2; }},
    {"OtherHeadDim", [](Config& c) { c.head_dim = 24; }},
    {"OtherDtype", [](Config& c) { c.dtype = DType::bfloat16; }},
    {"OtherCapacity", [](Config& c) { c.capacity = 21; }},
    {"OtherCapacityInOneLayer",
     [](Config& c) {
       c.layer_capacities = {20, 19};
     }},
    {"OtherPolicy", [](Config& c) { c.policy = Policy::superseded; }},
    {"OtherHashBits", [](Config& c) { c.hash_bits = 32; }},
    {"OtherHashSource", [](Config& c) { c.hash_source = HashSource::key; }},
    {"OtherTie", [](Config& c) { c.tie = Tie::lowest_slot; }},
    {"OtherSinks", [](Config& c) { c.num_sink_tokens = 3; }},
    {"OtherRecentWindow", [](Config& c) { c.recent_window = 9; }},
    {"OtherSinkFraction", [](Config& c) { c.sink_fraction = 0.25F; }},
    {"OtherSeed", [](Config& c) { c.seed = 1; }},
    {"OtherProjectionKind", [](Config& c) { c.projection_kind = ProjectionKind::orthogonal; }},
    {"ProjectionPerHead", [](Config& c) { c.projection_per_head = true; }},
    {"OtherCentering", [](Config& c) { c.centering = Centering::fixed; }},
    {"OtherDecay", [](Config& c) { c.score_decay_shift = 1; }},
    {"OtherPin", [](Config& c) { c.pin_prompt = true; }},
};

class StateOfAnotherCache : public ::testing::TestWithParam<RuleCase> {};

TEST_P(StateOfAnotherCache, IsRefusedAndChangesNothing) {
  Cache source = used_cache();
  Config config = small_config();
  GetParam().action(config);
  Cache target{config};
  feed(target, 0, 25, 60);
  const std::vector<std::byte> before = save_all(target);
  for (const int32_t sequence : {0, 1, 2}) {
    const std::vector<std::byte> saved = source.save(sequence, Stream{});
    expect_refused(outcome_of([&](hashevict_error* error) {
                     return hashevict_load(target.handle(), 0, saved.data(), saved.size(), error, nullptr);
                   }),
                   {HASHEVICT_INVALID_DATA, {"buffer", "saved with"}});
  }
  EXPECT_EQ(save_all(target), before);
}

INSTANTIATE_TEST_SUITE_P(Fields, StateOfAnotherCache, ::testing::ValuesIn(kOtherCaches),
                         [](const auto& info) { return info.param.name; });

TEST(Load, IntoACacheWithAnotherProjectionSetIsRefused) {
  Cache source = used_cache();
  const std::vector<std::byte> saved = source.save(1, Stream{});
  Cache target{small_config()};
  std::vector<float> projection(16 * 16);
  target.get_projection(1, Tensor{projection.data(), {16, 16}});
  projection[100] = -projection[100];
  target.set_projection(1, Tensor{projection.data(), {16, 16}});
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_load(target.handle(), 0, saved.data(), saved.size(), error, nullptr);
                 }),
                 {HASHEVICT_INVALID_DATA, {"buffer: layer 1 saved with a projection of checksum 0x", ": expected 0x"}});
  projection[100] = -projection[100];
  target.set_projection(1, Tensor{projection.data(), {16, 16}});
  EXPECT_NO_THROW(target.load(0, saved.data(), saved.size(), Stream{}));
}

TEST(Load, IntoACacheThatDiffersElsewhereWorks) {
  Cache source = used_cache();
  const std::vector<std::byte> saved = source.save(0, Stream{});
  Config config = small_config();
  config.num_sequences = 1;
  config.max_batch_tokens = 500;
  config.num_threads = 2;
  Cache target{config};
  target.load(0, saved.data(), saved.size(), Stream{});
  EXPECT_EQ(continue_with(target, 0, 9), continue_with(source, 0, 9));
}

TEST(Load, IntoACacheThatDiffersInAFieldItsRuleDoesNotReadWorks) {
  for (const Policy policy :
       {Policy::window, Policy::random, Policy::key_norm, Policy::mean, Policy::majority, Policy::superseded}) {
    SCOPED_TRACE(static_cast<int>(policy));
    Config config = small_config();
    config.policy = policy;
    Cache source = used_cache(config);
    const std::vector<std::byte> saved = source.save(0, Stream{});
    config.hash_source = HashSource::key;
    Cache target{config};
    target.load(0, saved.data(), saved.size(), Stream{});
    EXPECT_EQ(continue_with(target, 0, 9), continue_with(source, 0, 9));
  }
}

/// Loads damaged bytes into a used cache and sees that nothing comes of it.
class DamagedState : public ::testing::Test {
 protected:
  void expect_refused_as_data(const std::vector<std::byte>& bytes, size_t count, const std::string& what) {
    hashevict_error error;
    ASSERT_EQ(hashevict_load(target_.handle(), 0, bytes.data(), count, &error, nullptr), HASHEVICT_INVALID_DATA)
        << what;
  }

  Cache source_ = used_cache();
  std::vector<std::byte> saved_ = source_.save(1, Stream{});
  Cache target_ = used_cache();
  std::vector<std::byte> before_ = save_all(target_);
};

TEST_F(DamagedState, AnyFlippedBitIsFound) {
  for (size_t i = 0; i < saved_.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      const std::byte good = saved_[i];
      saved_[i] ^= std::byte{1} << bit;
      expect_refused_as_data(saved_, saved_.size(), "byte " + std::to_string(i) + ", bit " + std::to_string(bit));
      saved_[i] = good;
    }
  }
  EXPECT_EQ(save_all(target_), before_);
}

TEST_F(DamagedState, AnyTruncationIsFound) {
  for (size_t count = 1; count < saved_.size(); ++count) {
    const std::vector<std::byte> cut(saved_.begin(), saved_.begin() + static_cast<std::ptrdiff_t>(count));
    expect_refused_as_data(cut, count, "cut to " + std::to_string(count));
  }
  EXPECT_EQ(save_all(target_), before_);
}

TEST_F(DamagedState, MissingRangesAreFound) {
  for (size_t i = 0; i + 64 < saved_.size(); i += 16) {
    std::vector<std::byte> bytes = saved_;
    bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(i), bytes.begin() + static_cast<std::ptrdiff_t>(i + 64));
    expect_refused_as_data(bytes, bytes.size(), "64 bytes missing at " + std::to_string(i));
  }
  EXPECT_EQ(save_all(target_), before_);
}

TEST_F(DamagedState, ZerosAndNoiseAreFound) {
  expect_refused_as_data(std::vector<std::byte>(saved_.size()), saved_.size(), "zeros");
  expect_refused_as_data(std::vector<std::byte>(saved_.size(), std::byte{0xFF}), saved_.size(), "ones");
  EXPECT_EQ(save_all(target_), before_);
}

}  // namespace
}  // namespace hashevict::test
