// SPDX-License-Identifier: Apache-2.0
// save and load: a loaded state continues exactly as the saved one, in any sequence and any layout. A cache that could
// not continue it refuses it.
#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// A cache and, if it is paged, the memory behind it.
struct AnyLayout {
  AnyLayout(Config config, Layout layout) {
    config.placement.layout = layout;
    config.placement.page_size = 8;
    if (layout >= Layout::paged) paged = std::make_unique<PagedMemory>(config);
    cache = std::make_unique<Cache>(config, paged ? paged->memory : Memory{});
  }
  std::unique_ptr<PagedMemory> paged;
  std::unique_ptr<Cache> cache;
};

constexpr std::array kLayouts{Layout::head_major, Layout::slot_major, Layout::paged, Layout::paged_per_head};

/// Outputs of further decode steps in every layer.
std::vector<float> continue_with(Cache& cache, int32_t sequence, int64_t tokens) {
  std::vector<float> all;
  for (int64_t token = 0; token < tokens; ++token) {
    for (int32_t layer = 0; layer < cache.config().shape.num_layers; ++layer) {
      StepData data{cache.config(), 1, static_cast<uint64_t>(1000 + 10 * token + layer)};
      data.set_sequences({sequence});
      data.args.layer = layer;
      cache.decode(data.args, Stream{});
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
    {"Authors", [](Config& c) { c.rule = Rule{Preset::authors}; }},
    {"Superseded", [](Config& c) { c.rule = Rule{Preset::superseded}; }},
    {"Window", [](Config& c) { c.rule.policy = Policy::window; }},
    {"Random", [](Config& c) { c.rule.policy = Policy::random; }},
    {"Mean", [](Config& c) { c.rule.policy = Policy::mean; }},
    {"Votes", [](Config& c) { c.rule.policy = Policy::votes; }},
    {"Importance", [](Config& c) { c.rule.policy = Policy::importance; }},
    {"PinnedPrompt", [](Config& c) { c.rule.pin_prompt = true; }},
    {"Centered", [](Config& c) { c.rule.centering = Centering::prompt; }},
    {"ProjectionPerHead", [](Config& c) { c.rule.projection_per_head = true; }},
    {"LayerCapacities",
     [](Config& c) {
       c.shape.capacities = capacities_of_layers({16, 20}, c.shape.num_kv_heads);
     }},
    {"SmallCode", [](Config& c) { c.rule.hash_bits = 8; }},
    {"LargeCode", [](Config& c) { c.rule.hash_bits = 128; }},
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
        prompt.args.layer = layer;
        source.cache->prefill(prompt.args, Stream{});
      }
      const std::vector<std::byte> saved = source.cache->save(1, Stream{});
      EXPECT_LE(saved.size(), source.cache->save_bytes());
      const std::vector<float> expected = continue_with(*source.cache, 1, 30);
      for (const Layout to : kLayouts) {
        AnyLayout target{config, to};
        feed(*target.cache, 2, 25, 4000);  // replaced by the load
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

// Caches that cannot continue a state of small_config().
const std::vector<RuleCase> kOtherCaches{
    {"MoreLayers", [](Config& c) { c.shape.num_layers = 3; }},
    {"FewerLayers", [](Config& c) { c.shape.num_layers = 1; }},
    {"OtherGroup", [](Config& c) { c.shape.num_qo_heads = 6; }},
    {"OtherHeads", [](Config& c) { c.shape.num_qo_heads = c.shape.num_kv_heads = 4; }},
    {"OtherShard", [](Config& c) { c.shape.kv_head_offset = 2; }},
    {"OtherHeadDim", [](Config& c) { c.shape.head_dim = 24; }},
    {"OtherDtype", [](Config& c) { c.shape.dtype = DType::bfloat16; }},
    {"OtherCapacity", [](Config& c) { c.shape.capacity = 21; }},
    {"OtherCapacityOfAHead",
     [](Config& c) {
       c.shape.capacities = {20, 20, 20, 1000};
     }},
    {"OtherPolicy", [](Config& c) { c.rule.policy = Policy::superseded; }},
    {"OtherHashBits", [](Config& c) { c.rule.hash_bits = 32; }},
    {"OtherHashSource", [](Config& c) { c.rule.hash_source = HashSource::key; }},
    {"OtherTie", [](Config& c) { c.rule.tie = Tie::lowest_slot; }},
    {"OtherSinks", [](Config& c) { c.rule.num_sink_tokens = 3; }},
    {"OtherRecentWindow", [](Config& c) { c.rule.recent_window = 9; }},
    {"OtherSinkFraction", [](Config& c) { c.rule.sink_fraction = 0.25F; }},
    {"OtherSeed", [](Config& c) { c.rule.seed = 1; }},
    {"OtherProjectionKind", [](Config& c) { c.rule.projection_kind = ProjectionKind::orthogonal; }},
    {"ProjectionPerHead", [](Config& c) { c.rule.projection_per_head = true; }},
    {"OtherCentering", [](Config& c) { c.rule.centering = Centering::fixed; }},
    {"OtherPin", [](Config& c) { c.rule.pin_prompt = true; }},
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
  config.shape.num_sequences = 1;
  config.execution.max_batch_tokens = 500;
  config.execution.num_threads = 2;
  Cache target{config};
  target.load(0, saved.data(), saved.size(), Stream{});
  EXPECT_EQ(continue_with(target, 0, 9), continue_with(source, 0, 9));
}

TEST(Load, IntoACacheThatDiffersInAFieldItsRuleDoesNotReadWorks) {
  for (const Policy policy :
       {Policy::window, Policy::random, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
    SCOPED_TRACE(static_cast<int>(policy));
    Config config = small_config();
    config.rule.policy = policy;
    Cache source = used_cache(config);
    const std::vector<std::byte> saved = source.save(0, Stream{});
    config.rule.hash_source = HashSource::key;
    Cache target{config};
    target.load(0, saved.data(), saved.size(), Stream{});
    EXPECT_EQ(continue_with(target, 0, 9), continue_with(source, 0, 9));
  }
}

/// Loads damaged bytes into a used cache and expects that the cache stays as it is.
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

// ------------------------------------------------------------------------------------ forged states, sealed once more

/// The layout of hashevict_save(): magic, total, checksum and 6 traits, then each layer's header of 10 traits, the
/// checksums of projection and importance weights and 3 counters, the last of which is the centre's origin.
constexpr size_t kTraits = 24;
constexpr size_t kPayload = kTraits + 6 * 8;
constexpr size_t kCenterOrigin = kPayload + 10 * 8 + 2 * 8 + 2 * 4;  // of layer 0

/// Updates the checksum of a changed state.
void seal(std::vector<std::byte>& state) {
  uint64_t sum = 0xCBF29CE484222325ULL;
  const auto add = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; i += sizeof(uint64_t)) {
      uint64_t word = 0;
      std::memcpy(&word, state.data() + i, std::min(sizeof word, end - i));
      const uint64_t mixed = (sum ^ word) * 0x9E3779B97F4A7C15ULL;
      sum = mixed << 29 | mixed >> 35;
    }
  };
  add(kPayload, state.size());
  add(kTraits, kPayload);
  std::memcpy(state.data() + 16, &sum, sizeof sum);
}

/// A cache with given centres in sequence 0, which has seen tokens.
struct Centered {
  Centered() {
    for (int32_t layer = 0; layer < 2; ++layer) {
      cache.set_center(layer, 0, Tensor{key.data(), {2, 16}}, Tensor{query.data(), {4, 16}});
    }
    feed(cache, 0, 25, 7);
  }
  static Config config() {
    Config config = small_config();
    config.rule.centering = Centering::fixed;
    return config;
  }
  Outcome load(const std::vector<std::byte>& state) {
    return outcome_of([&](hashevict_error* error) {
      return hashevict_load(cache.handle(), 1, state.data(), state.size(), error, nullptr);
    });
  }
  std::vector<float> key = normal_numbers(32, 1), query = normal_numbers(64, 2);
  Cache cache{config()};
};

TEST(Load, OfAStateThatWasSealedOnceMoreWorks) {
  Centered scene;
  std::vector<std::byte> state = scene.cache.save(0, Stream{});
  const std::vector<std::byte> before = state;
  seal(state);
  EXPECT_EQ(state, before);
  EXPECT_EQ(scene.load(state).status, HASHEVICT_OK);
}

TEST(Load, OfACentreThatIsNotFiniteIsRefused) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Centered scene;
    for (const std::vector<float>* const center : {&scene.key, &scene.query}) {
      std::vector<std::byte> state = scene.cache.save(0, Stream{});
      const std::vector<std::byte> third = bytes_of(center->data() + 3, sizeof(float));
      const auto at = std::search(state.begin(), state.end(), third.begin(), third.end());
      ASSERT_NE(at, state.end());
      std::memcpy(&*at, &bad, sizeof bad);
      seal(state);
      expect_refused(scene.load(state), {HASHEVICT_INVALID_DATA, {"layer 0 holds element 3 of a centre", "finite"}});
      EXPECT_EQ(scene.cache.statistics(0, 0, 1, Stream{}).tokens_seen, 0);
    }
  }
}

TEST(Load, OfACentreOfUnknownOriginIsRefused) {
  for (const int32_t bad : {-1, 3}) {
    Centered scene;
    std::vector<std::byte> state = scene.cache.save(0, Stream{});
    std::memcpy(state.data() + kCenterOrigin, &bad, sizeof bad);
    seal(state);
    expect_refused(scene.load(state),
                   {HASHEVICT_INVALID_DATA, {"layer 0 has a centre of origin " + std::to_string(bad), "0 to 2"}});
  }
}

TEST(Load, OfTheMeanOfAPromptTakesWhateverItIs) {
  Config config = small_config();
  config.rule.centering = Centering::prompt;
  Cache cache{config};
  StepData prompt{config, 9, 1};
  prompt.set_rows({9});
  prompt.k[5] = std::numeric_limits<float>::quiet_NaN();
  for (int32_t layer = 0; layer < 2; ++layer) {
    prompt.args.layer = layer;
    cache.prefill(prompt.args, Stream{});
  }
  const std::vector<std::byte> saved = cache.save(0, Stream{});
  cache.load(2, saved.data(), saved.size(), Stream{});
  EXPECT_EQ(cache.save(2, Stream{}), saved);
}

}  // namespace
}  // namespace hashevict::test
