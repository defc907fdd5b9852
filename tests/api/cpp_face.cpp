// SPDX-License-Identifier: Apache-2.0
// The C++ face: its types agree with the C ABI, its conversions lose nothing, and calls that would dangle do not
// compile.
#include <cstring>
#include <type_traits>
#include <utility>

#include "support.hpp"

namespace hashevict::test {
namespace {

// ------------------------------------------------------------------------------------------- what does not compile

static_assert(!std::is_copy_constructible_v<Cache> && !std::is_copy_assignable_v<Cache>);
static_assert(std::is_nothrow_move_constructible_v<Cache> && std::is_nothrow_move_assignable_v<Cache>);
static_assert(!std::is_convertible_v<Config, Cache>, "a cache is made on purpose");
static_assert(!std::is_convertible_v<void*, Stream>, "a stream is named as such");
static_assert(std::is_constructible_v<Stream, void*> && std::is_constructible_v<Stream, CUstream_st*>);
static_assert(!std::is_constructible_v<Stream, int> && !std::is_constructible_v<Stream, long> &&
                  !std::is_constructible_v<Stream, bool> && !std::is_constructible_v<Stream, std::nullptr_t>,
              "the default stream has a name");
static_assert(!std::is_constructible_v<Stream, float*> && !std::is_constructible_v<Stream, Cache*> &&
                  !std::is_constructible_v<Stream, CUstream_st**> && !std::is_constructible_v<Stream, void**> &&
                  !std::is_constructible_v<Stream, const void*> && !std::is_constructible_v<Stream, float[2]>,
              "a pointer to something else is no stream");
static_assert(kDefaultStream.get() == nullptr && Stream{}.get() == nullptr);
static_assert(std::is_trivially_copyable_v<Tensor> && sizeof(Tensor) == sizeof(hashevict_tensor));
static_assert(std::is_nothrow_move_constructible_v<Config> && std::is_nothrow_move_constructible_v<Memory>);

template <class T>
concept GivesConfig = requires(T&& config, std::vector<hashevict_rule>& rules) {
  std::forward<T>(config).c_config(rules);
};
static_assert(GivesConfig<Config&> && GivesConfig<const Config&> && !GivesConfig<Config> && !GivesConfig<const Config>);

template <class T>
concept GivesShape = requires(T&& shape) {
  std::forward<T>(shape).c_shape();
};
static_assert(GivesShape<Shape&> && GivesShape<const Shape&> && !GivesShape<Shape> && !GivesShape<const Shape>);

template <class T>
concept GivesMemory = requires(T&& memory) {
  std::forward<T>(memory).c_memory(1, 1);
};
static_assert(GivesMemory<Memory&> && GivesMemory<const Memory&> && !GivesMemory<Memory>);

template <class T>
concept GivesView = requires(T&& cache) {
  std::forward<T>(cache).view(0, 0);
};
static_assert(GivesView<Cache&> && GivesView<const Cache&> && !GivesView<Cache>);

template <class T>
concept GivesHandle = requires(T&& cache) {
  std::forward<T>(cache).handle();
};
static_assert(GivesHandle<Cache&> && GivesHandle<const Cache&> && !GivesHandle<Cache>);

template <class... Arguments>
concept Decodes = requires(Cache& cache, Arguments... arguments) {
  cache.decode(arguments...);
};
static_assert(Decodes<DecodeArgs, Stream> && !Decodes<DecodeArgs>, "the stream has no default");
static_assert(!Decodes<AppendArgs, Stream> && !Decodes<PrefillArgs, Stream>, "arguments are those of the operation");

template <class T>
concept TakesPolicy = requires(Rule& rule, T value) {
  rule.policy = value;
};
static_assert(TakesPolicy<Policy> && !TakesPolicy<Layout> && !TakesPolicy<int>, "enumerations keep to themselves");

template <class T>
concept HasDtype = std::is_constructible_v<Tensor, T*, std::initializer_list<int64_t>>;
static_assert(HasDtype<float> && HasDtype<const float> && HasDtype<int32_t> && HasDtype<const uint8_t>);
static_assert(!HasDtype<double> && !HasDtype<int64_t> && !HasDtype<void>, "no dtype to deduce");

// --------------------------------------------------------------------------------------------------------- tensors

TEST(Tensor, DefaultIsAbsent) {
  const Tensor tensor;
  EXPECT_FALSE(tensor.present());
  EXPECT_EQ(tensor.data, nullptr);
}

TEST(Tensor, WithoutStridesIsDense) {
  const std::array<float, 24> numbers{};
  const Tensor tensor{numbers.data(), {2, 3, 4}};
  EXPECT_EQ(tensor.data, numbers.data());
  EXPECT_EQ(tensor.element_type(), DType::float32);
  EXPECT_EQ(tensor.rank, 3);
  EXPECT_THAT(std::vector<int64_t>(tensor.shape, tensor.shape + 3), ::testing::ElementsAre(2, 3, 4));
  EXPECT_THAT(std::vector<int64_t>(tensor.stride, tensor.stride + 3), ::testing::ElementsAre(12, 4, 1));
}

TEST(Tensor, DeducesItsDtype) {
  const int32_t index = 0;
  uint8_t code = 0;
  EXPECT_EQ((Tensor{&index, {1}}).element_type(), DType::int32);
  EXPECT_EQ((Tensor{&code, {1}}).element_type(), DType::uint8);
}

TEST(Tensor, KeepsGivenStrides) {
  const std::array<uint16_t, 64> halves{};
  const Tensor tensor{halves.data(), DType::bfloat16, {2, 8}, {32, 1}};
  EXPECT_EQ(tensor.element_type(), DType::bfloat16);
  EXPECT_THAT(std::vector<int64_t>(tensor.stride, tensor.stride + 2), ::testing::ElementsAre(32, 1));
  EXPECT_EQ(tensor.data_as<const uint16_t>(), halves.data());
}

TEST(Tensor, OfTooManyDimensionsIsRefused) {
  const float number = 0;
  EXPECT_THROW((Tensor{&number, {1, 1, 1, 1, 1, 1}}), Error);
  EXPECT_NO_THROW((Tensor{&number, {1, 1, 1, 1, 1}}));
}

TEST(Tensor, WithFewerStridesThanExtentsIsRefused) {
  const float number = 0;
  EXPECT_THROW((Tensor{&number, {1, 1}, {1}}), Error);
}

// --------------------------------------------------------------------------------------------------------- configs

TEST(Config, DefaultsAreThoseOfTheCAbi) {
  hashevict_config c;
  std::memset(&c, 0xEE, sizeof c);
  hashevict_config_init(&c);
  EXPECT_EQ(c.struct_size, sizeof c);
  const Config config;
  EXPECT_EQ(config.placement.backend, Backend::automatic);
  EXPECT_EQ(config.shape.num_layers, 0);
  EXPECT_EQ(config.shape.num_sequences, 1);
  EXPECT_EQ(config.shape.dtype, DType::bfloat16);
  EXPECT_EQ(config.rule.policy, Policy::hash);
  EXPECT_EQ(config.rule.hash_bits, 16);
  EXPECT_EQ(config.rule.hash_source, HashSource::query);
  EXPECT_EQ(config.rule.tie, Tie::oldest);
  EXPECT_EQ(config.rule.num_sink_tokens, 4);
  EXPECT_EQ(config.rule.recent_window, 10);
  EXPECT_LT(config.rule.sink_fraction, 0.0F);
  EXPECT_LT(config.rule.recent_fraction, 0.0F);
  EXPECT_FALSE(config.rule.pin_prompt);
  EXPECT_EQ(config.rule.seed, 0U);
  EXPECT_EQ(config.rule.centering, Centering::none);
  EXPECT_EQ(config.rule.projection_kind, ProjectionKind::gaussian);
  EXPECT_FALSE(config.rule.projection_per_head);
  EXPECT_EQ(config.placement.layout, Layout::head_major);
  EXPECT_EQ(config.placement.page_size, 16);
  EXPECT_EQ(config.execution.max_batch_tokens, 0);
  EXPECT_EQ(config.execution.num_threads, 0);
  EXPECT_EQ(config.execution.parallel_for, nullptr);
  EXPECT_TRUE(config.shape.capacities.empty());
}

TEST(Config, PartsHaveTheSameDefaultsAlone) {
  const hashevict_config c = c_config_of(Config{});
  const auto expect_part = [](const auto& expected, const auto& part) {
    EXPECT_EQ(bytes_of(&part, sizeof part), bytes_of(&expected, sizeof expected));
  };
  const Shape shape;
  expect_part(c.shape, shape.c_shape());
  expect_part(c.rule, Rule{}.c_rule());
  expect_part(c.placement, Placement{}.c_placement());
  expect_part(c.execution, static_cast<const hashevict_execution&>(Execution{}));
  hashevict_config from_c;
  hashevict_config_init(&from_c);
  expect_part(from_c, c);
}

TEST(Config, AutomaticBackendIsResolved) {
  Config config = small_config();
  config.placement.backend = Backend::automatic;
  const Cache cache{config};
  EXPECT_NE(cache.config().placement.backend, Backend::automatic);
}

TEST(Config, CapacitiesOfAnotherNumberOfHeadsAreRefused) {
  Config config = small_config();
  config.shape.capacities = {20, 20, 20};
  try {
    const Cache cache{config};
    FAIL() << "three capacities for two layers of two heads were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_THAT(
        error.what(),
        ::testing::HasSubstr(
            "config.shape.capacities.size() = 3: expected 0 or config.shape.num_layers * num_kv_heads = 2 * 2"));
  }
}

TEST(Config, LayerRulesOfAnotherNumberOfLayersAreRefused) {
  Config config = small_config();
  for (const size_t count : {size_t{1}, size_t{3}}) {
    config.layer_rules.assign(count, config.rule);
    try {
      (void)Cache::required_bytes(config);
      FAIL() << count << " rules for two layers were accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::invalid_argument);
      EXPECT_EQ(error.what(),
                "config.layer_rules.size() = " + std::to_string(count) + ": expected 0 or config.shape.num_layers = 2");
    }
  }
}

TEST(Memory, BasePointersOfAnotherNumberOfLayersAreRefused) {
  Memory memory;
  memory.keys.assign(3, nullptr);
  try {
    const Cache cache{small_config(), memory};
    FAIL() << "three base pointers for two layers were accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "memory.keys.size() = 3: expected 0 or config.shape.num_layers = 2");
  }
}

TEST(Preset, PaperIsTheDefault) {
  const hashevict_rule paper = Rule{Preset::paper}.c_rule();
  const hashevict_rule by_default = Rule{}.c_rule();
  EXPECT_EQ(bytes_of(&paper, sizeof paper), bytes_of(&by_default, sizeof by_default));
}

TEST(Preset, AuthorsHashesTheNewKeyAndTakesTheLowestSlot) {
  const Rule rule{Preset::authors};
  EXPECT_EQ(rule.policy, Policy::hash);
  EXPECT_EQ(rule.hash_source, HashSource::key);
  EXPECT_EQ(rule.tie, Tie::lowest_slot);
}

TEST(Preset, SupersededKeepsHalfOfTheCapacityRecent) {
  const Rule rule{Preset::superseded};
  EXPECT_EQ(rule.policy, Policy::superseded);
  EXPECT_EQ(rule.hash_bits, 64);
  EXPECT_EQ(rule.recent_fraction, 0.5F);
}

TEST(Preset, RecallTakesWhatWasLearned) {
  const Rule rule{Preset::recall};
  EXPECT_EQ(rule.policy, Policy::votes);
  EXPECT_EQ(rule.hash_bits, 32);
  EXPECT_EQ(rule.recent_fraction, 0.5F);
  EXPECT_EQ(rule.centering, Centering::fixed);
  EXPECT_EQ(rule.projection_kind, ProjectionKind::learned);
  EXPECT_NE(rule.projection_per_head, 0);
}

TEST(Preset, AssignsEveryByteOfARule) {
  for (const hashevict_preset preset :
       {HASHEVICT_PRESET_PAPER, HASHEVICT_PRESET_AUTHORS, HASHEVICT_PRESET_SUPERSEDED, HASHEVICT_PRESET_RECALL}) {
    hashevict_rule zeros;
    hashevict_rule ones;
    std::memset(&zeros, 0, sizeof zeros);
    std::memset(&ones, 0xFF, sizeof ones);
    ASSERT_EQ(hashevict_rule_preset(&zeros, preset, nullptr), HASHEVICT_OK);
    ASSERT_EQ(hashevict_rule_preset(&ones, preset, nullptr), HASHEVICT_OK);
    EXPECT_EQ(bytes_of(&zeros, sizeof zeros), bytes_of(&ones, sizeof ones)) << preset;
    EXPECT_EQ(zeros.seed, 0U);
  }
}

// ---------------------------------------------------------------------------------------------------------- errors

TEST(Error, CarriesStatusAndMessageOfTheCAbi) {
  Config config = small_config();
  config.shape.head_dim = 12;
  const hashevict_config c = c_config_of(config);
  const Outcome outcome = outcome_of([&](hashevict_error* error) {
    hashevict_bytes bytes;
    hashevict_bytes_init(&bytes);
    return hashevict_required_bytes(&c, &bytes, error);
  });
  try {
    (void)Cache::required_bytes(config);
    FAIL() << "a head_dim of 12 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_EQ(error.what(), outcome.message);
  }
}

TEST(Status, NamesAreThoseOfTheEnumerators) {
  EXPECT_STREQ(status_name(Status::ok), "ok");
  EXPECT_STREQ(status_name(Status::invalid_argument), "invalid_argument");
  EXPECT_STREQ(status_name(Status::invalid_state), "invalid_state");
  EXPECT_STREQ(status_name(Status::unsupported), "unsupported");
  EXPECT_STREQ(status_name(Status::out_of_memory), "out_of_memory");
  EXPECT_STREQ(status_name(Status::invalid_data), "invalid_data");
  EXPECT_STREQ(status_name(Status::backend_error), "backend_error");
  EXPECT_STREQ(status_name(Status::internal), "internal");
}

}  // namespace
}  // namespace hashevict::test
