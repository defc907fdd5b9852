// SPDX-License-Identifier: Apache-2.0
// The C++ face: its types agree with the C ABI, its conversions lose nothing, and what would dangle does not compile.
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
static_assert(std::is_trivially_copyable_v<Tensor> && sizeof(Tensor) == sizeof(hashevict_tensor));
static_assert(std::is_nothrow_move_constructible_v<Config> && std::is_nothrow_move_constructible_v<Memory>);

template <class T>
concept GivesConfig = requires(T&& config) {
  std::forward<T>(config).c_config();
};
static_assert(GivesConfig<Config&> && GivesConfig<const Config&> && !GivesConfig<Config> && !GivesConfig<const Config>);

template <class T>
concept GivesMemory = requires(T&& memory) {
  std::forward<T>(memory).c_memory(1);
};
static_assert(GivesMemory<Memory&> && GivesMemory<const Memory&> && !GivesMemory<Memory>);

template <class T>
concept GivesView = requires(T&& cache) {
  std::forward<T>(cache).view(0);
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
static_assert(Decodes<Step, Stream> && !Decodes<Step>, "the stream has no default");

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
  EXPECT_EQ(config.backend, Backend::automatic);
  EXPECT_EQ(config.num_layers, 0);
  EXPECT_EQ(config.num_sequences, 1);
  EXPECT_EQ(config.dtype, DType::bfloat16);
  EXPECT_EQ(config.policy, Policy::hash);
  EXPECT_EQ(config.hash_bits, 16);
  EXPECT_EQ(config.hash_source, HashSource::query);
  EXPECT_EQ(config.tie, Tie::oldest);
  EXPECT_EQ(config.num_sink_tokens, 4);
  EXPECT_EQ(config.recent_window, 10);
  EXPECT_LT(config.sink_fraction, 0.0F);
  EXPECT_LT(config.recent_fraction, 0.0F);
  EXPECT_FALSE(config.pin_prompt);
  EXPECT_EQ(config.score_decay_shift, 0);
  EXPECT_EQ(config.seed, 0U);
  EXPECT_EQ(config.centering, Centering::none);
  EXPECT_EQ(config.projection_kind, ProjectionKind::gaussian);
  EXPECT_FALSE(config.projection_per_head);
  EXPECT_EQ(config.layout, Layout::head_major);
  EXPECT_EQ(config.page_size, 16);
  EXPECT_EQ(config.max_batch_tokens, 0);
  EXPECT_EQ(config.num_threads, 0);
  EXPECT_EQ(config.parallel_for, nullptr);
  EXPECT_TRUE(config.layer_capacities.empty());
}

void run_serially(void* /*context*/, int64_t num_tasks, void (*task)(void*, int64_t), void* argument) {
  for (int64_t i = 0; i < num_tasks; ++i) task(argument, i);
}

/// A config whose every field differs from its default.
Config unusual_config() {
  Config config;
  config.backend = Backend::cpu;
  config.device = 1;
  config.num_layers = 2;
  config.num_sequences = 3;
  config.num_qo_heads = 8;
  config.num_kv_heads = 2;
  config.head_dim = 24;
  config.dtype = DType::float16;
  config.kv_head_offset = 5;
  config.capacity = 40;
  config.layer_capacities = {30, 50};
  config.policy = Policy::superseded;
  config.hash_bits = 64;
  config.hash_source = HashSource::key;
  config.tie = Tie::lowest_slot;
  config.num_sink_tokens = 2;
  config.recent_window = 7;
  config.sink_fraction = 0.125F;
  config.recent_fraction = 0.25F;
  config.pin_prompt = true;
  config.seed = UINT64_C(0x123456789ABCDEF0);
  config.centering = Centering::fixed;
  config.projection_kind = ProjectionKind::orthogonal;
  config.projection_per_head = true;
  config.layout = Layout::slot_major;
  config.page_size = 32;
  config.max_batch_tokens = 99;
  config.num_threads = 1;
  config.parallel_for = run_serially;
  config.parallel_for_context = &config;
  return config;
}

void expect_same(const Config& a, const Config& b) {
  hashevict_config first = a.c_config();
  hashevict_config second = b.c_config();
  EXPECT_EQ(a.layer_capacities, b.layer_capacities);
  first.layer_capacities = second.layer_capacities = nullptr;
  EXPECT_EQ(bytes_of(&first, sizeof first), bytes_of(&second, sizeof second));
}

TEST(Config, SurvivesTheWayToCAndBack) {
  const Config config = unusual_config();
  const hashevict_config c = config.c_config();
  EXPECT_EQ(c.layer_capacities, config.layer_capacities.data());
  EXPECT_EQ(c.kv_head_offset, 5);
  EXPECT_EQ(c.pin_prompt, 1);
  EXPECT_EQ(c.seed, UINT64_C(0x123456789ABCDEF0));
  EXPECT_EQ(c.max_batch_tokens, 99);
  expect_same(Config{c}, config);
}

TEST(Config, IsGivenBackByTheCacheAsItWas) {
  const Config config = unusual_config();
  const Cache cache{config};
  expect_same(cache.config(), config);
}

TEST(Config, AutomaticBackendIsResolved) {
  Config config = small_config();
  config.backend = Backend::automatic;
  const Cache cache{config};
  EXPECT_NE(cache.config().backend, Backend::automatic);
}

TEST(Config, LayerCapacitiesOfAnotherNumberOfLayersAreRefused) {
  Config config = small_config();
  config.layer_capacities = {20, 20, 20};
  try {
    const Cache cache{config};
    FAIL() << "three capacities for two layers were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::invalid_argument);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("layer_capacities.size() = 3: expected num_layers = 2"));
  }
}

TEST(Preset, PaperIsTheDefault) {
  expect_same(Config::preset(Preset::paper), Config{});
}

TEST(Preset, AuthorsHashesTheNewKeyAndTakesTheLowestSlot) {
  const Config config = Config::preset(Preset::authors);
  EXPECT_EQ(config.policy, Policy::hash);
  EXPECT_EQ(config.hash_source, HashSource::key);
  EXPECT_EQ(config.tie, Tie::lowest_slot);
}

TEST(Preset, SupersededKeepsHalfOfTheCapacityRecent) {
  const Config config = Config::preset(Preset::superseded);
  EXPECT_EQ(config.policy, Policy::superseded);
  EXPECT_EQ(config.hash_bits, 64);
  EXPECT_EQ(config.recent_fraction, 0.5F);
}

TEST(Preset, RecallTakesWhatWasLearned) {
  const Config config = Config::preset(Preset::recall);
  EXPECT_EQ(config.policy, Policy::majority);
  EXPECT_EQ(config.hash_bits, 32);
  EXPECT_EQ(config.recent_fraction, 0.2F);
  EXPECT_EQ(config.centering, Centering::fixed);
  EXPECT_TRUE(config.projection_per_head);
}

TEST(Preset, LeavesTheOtherFieldsAlone) {
  const Config before = unusual_config();
  for (const Preset preset : {Preset::paper, Preset::authors, Preset::superseded, Preset::recall}) {
    Config config = before;
    config.apply(preset);
    const Config named = Config::preset(preset);
    EXPECT_EQ(config.policy, named.policy);
    EXPECT_EQ(config.recent_fraction, named.recent_fraction);
    EXPECT_EQ(config.pin_prompt, named.pin_prompt);
    config.policy = before.policy;
    config.hash_bits = before.hash_bits;
    config.hash_source = before.hash_source;
    config.tie = before.tie;
    config.num_sink_tokens = before.num_sink_tokens;
    config.recent_window = before.recent_window;
    config.sink_fraction = before.sink_fraction;
    config.recent_fraction = before.recent_fraction;
    config.pin_prompt = before.pin_prompt;
    config.score_decay_shift = before.score_decay_shift;
    config.centering = before.centering;
    config.projection_per_head = before.projection_per_head;
    expect_same(config, before);
  }
}

// ----------------------------------------------------------------------------------------------------------- steps

TEST(Step, DefaultsAreThoseOfTheCAbi) {
  hashevict_step c{};
  hashevict_step_init(&c);
  const hashevict_step from_cpp = Step{}.c_step();
  EXPECT_EQ(bytes_of(&c, sizeof c), bytes_of(&from_cpp, sizeof from_cpp));
  EXPECT_EQ(c.prefill_window, 32);
  EXPECT_EQ(c.prefill_mode, HASHEVICT_PREFILL_REPLAY);
  EXPECT_EQ(c.struct_size, sizeof c);
}

TEST(Step, CarriesEveryField) {
  const float number = 0;
  const auto tensor = [&](int64_t mark) { return Tensor{&number, {mark}}; };
  Step step;
  step.layer = 3;
  step.row_to_sequence = tensor(1);
  step.cu_seqlens = tensor(2);
  step.q = tensor(3);
  step.k = tensor(4);
  step.v = tensor(5);
  step.out = tensor(6);
  step.lse = tensor(7);
  step.slots = tensor(8);
  step.victims = tensor(9);
  step.softmax_scale = 0.5F;
  step.logit_soft_cap = 30.0F;
  step.prefill_mode = PrefillMode::recent;
  step.prefill_window = 8;
  const hashevict_step c = step.c_step();
  EXPECT_EQ(c.layer, 3);
  const std::array tensors{
      c.batch.row_to_sequence, c.batch.cu_seqlens, c.q, c.k, c.v, c.out, c.lse, c.slots, c.victims};
  for (size_t i = 0; i < tensors.size(); ++i) EXPECT_EQ(tensors[i].shape[0], static_cast<int64_t>(i) + 1);
  EXPECT_EQ(c.softmax_scale, 0.5F);
  EXPECT_EQ(c.logit_soft_cap, 30.0F);
  EXPECT_EQ(c.prefill_mode, HASHEVICT_PREFILL_RECENT);
  EXPECT_EQ(c.prefill_window, 8);
}

// ---------------------------------------------------------------------------------------------------------- errors

TEST(Error, CarriesStatusAndMessageOfTheCAbi) {
  Config config = small_config();
  config.head_dim = 12;
  const hashevict_config c = config.c_config();
  const Outcome outcome = outcome_of([&](hashevict_error* error) {
    hashevict_bytes bytes{};
    bytes.struct_size = sizeof bytes;
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
