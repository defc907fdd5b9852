// SPDX-License-Identifier: Apache-2.0
// Launches whose shared memory is close to the default limit of a device, and the state that an aborted launch leaves
// behind.
#include <gtest/gtest.h>

#include <cstring>

#include "core/rule.hpp"
#include "core/state.hpp"
#include "core/validate.hpp"
#include "kernels/detail/launch.cuh"
#include "kernels/detail/prefill_slots.cuh"
#include "kernels/launch.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

Config one_head(int32_t capacity) {
  Config config = small_config();
  config.shape.num_qo_heads = 2;
  config.shape.num_kv_heads = 1;
  config.shape.head_dim = 8;
  config.shape.num_sequences = 1;
  config.shape.capacity = capacity;
  config.execution.max_batch_tokens = 8192;
  return config;
}

void empty_kernel(int32_t /*unused*/) {
  simt::wait_for_launch_before();
}
void other_empty_kernel(int32_t /*unused*/) {
  simt::wait_for_launch_before();
}
void kernel_with_static_memory(int32_t /*unused*/) {
  simt::wait_for_launch_before();
  simt::block_max<64>(1);
}

TEST(Launch, OfAKernelThatWasNotMadeReadyIsReported) {
  EXPECT_THROW(simt::launch(empty_kernel, {1, 1, 32, 0}, 0, {}), simt::Report);
  ASSERT_EQ(simt::prepare(empty_kernel).error, nullptr);
  EXPECT_EQ(simt::launch(empty_kernel, {1, 1, 32, 0}, 0, {}), nullptr);
}

TEST(Launch, MayHaveWhatPrepareSaidAndNoMore) {
  const simt::Prepared prepared = simt::prepare(kernel_with_static_memory);
  EXPECT_EQ(simt::launch(kernel_with_static_memory, {1, 1, 64, prepared.shared_bytes}, 0, {}), nullptr);
  EXPECT_THROW(simt::launch(kernel_with_static_memory, {1, 1, 64, 227 * 1024}, 0, {}), simt::Report);
}

TEST(Launch, LimitsOfOneKernelLeaveThoseOfOthers) {
  const int32_t most = simt::prepare(empty_kernel).shared_bytes;
  static_cast<void>(simt::prepare(other_empty_kernel));
  EXPECT_EQ(simt::launch(empty_kernel, {1, 1, 32, most}, 0, {}), nullptr);
}

/// Dynamic shared memory is just below the default limit; static shared memory takes the total beyond it.
TEST(Launch, OfAPromptCountsStaticSharedMemory) {
  kernels::Layer layer{};
  layer.rule.kind = core::RuleKind::least_important;  // whose steps come one by one, from slots in shared memory
  layer.rule.facts = core::facts_of(layer.rule.kind);
  layer.rule.hash_bits = 16;
  layer.shape.group_size = 2;
  layer.shape.head_dim = 8;
  int32_t dynamic = 0;
  int32_t capacity = 0;
  for (int32_t slots = 1; slots < 8192; ++slots) {
    layer.min_capacity = layer.max_capacity = slots;
    const int32_t bytes = kernels::prompt_shared_bytes(layer);
    if (bytes <= dynamic || bytes > simt::SharedLimits::kWithoutAsking) continue;
    dynamic = bytes;
    capacity = slots;
  }
  ASSERT_GT(dynamic + simt::static_shared_bytes(kernels::kChooseThreads), simt::SharedLimits::kWithoutAsking);
  Config config = one_head(capacity);
  config.rule.policy = Policy::importance;
  Twins twins{Backend::cuda, config};
  Inputs inputs{1};
  Options options;
  options.mode = PrefillMode::recent;
  twins.run(Operation::prefill, {{0, inputs.draw(config, static_cast<std::size_t>(capacity) + 1)}}, options);
  options.mode = PrefillMode::replay;
  twins.run(Operation::prefill, {{0, inputs.draw(config, 1)}}, options);
  twins.expect_same_state();
}

/// Two splits per head, so that blocks take tickets.
Config with_splits() {
  Config config = small_config();
  config.shape.num_sequences = 3;
  config.shape.capacity = 300;
  return config;
}

void fill_up(Twins& twins, Inputs& inputs, int32_t sequence) {
  Options options;
  options.mode = PrefillMode::recent;
  twins.run(Operation::prefill, {{sequence, inputs.draw(twins.cache.config(), 310)}}, options);
}

/// Runs every operation that takes tickets.
void take_steps(Twins& twins, Inputs& inputs, int32_t sequence) {
  const Config& config = twins.cache.config();
  for (int step = 0; step < 3; ++step) {
    twins.run(Operation::decode, {{sequence, inputs.draw(config, 1)}});
    twins.run(Operation::attend, {{sequence, inputs.draw(config, 1)}});
    twins.run(Operation::append, {{sequence, inputs.draw(config, 1)}});
  }
}

/// The addresses of a sequence's tickets in a cache.
std::vector<uint32_t*> tickets_of(TestCache& cache, int32_t sequence) {
  std::vector<hashevict_rule> rules;
  const Config& config = cache.config();
  const hashevict_config given = config.c_config(rules);
  core::Settings settings = core::validate_config(&given);
  settings.placement.backend = HASHEVICT_BACKEND_CUDA;
  const core::StateLayout layout = core::lay_out_state(settings);
  const View view = cache.cache().view(0, 0);
  auto* const state = const_cast<std::byte*>(view.codes.data_as<std::byte>()) -
                      layout.offsets[0][static_cast<std::size_t>(core::StatePartIndex::codes)];
  const core::StatePointers layer = core::state_pointers(settings, layout, 0, state);
  std::vector<uint32_t*> tickets;
  const int32_t heads = config.shape.num_kv_heads;
  for (int32_t i = 0; i < 2 * heads; ++i) tickets.push_back(layer.tickets + sequence * 2 * heads + i);
  for (int32_t i = 0; i < heads; ++i) tickets.push_back(layer.token_tickets + sequence * heads + i);
  return tickets;
}

TEST(Tickets, ThatALaunchLeftAreClearedByReset) {
  for (const int32_t reset : {1, -1}) {
    SCOPED_TRACE("reset of " + std::to_string(reset));
    Twins twins{Backend::cuda, with_splits()};
    Inputs inputs{2};
    for (uint32_t* const ticket : tickets_of(twins.cache, 1)) *ticket = 1;
    twins.cache.cache().reset(reset, Stream{});
    fill_up(twins, inputs, 1);
    take_steps(twins, inputs, 1);
    twins.expect_same_state();
  }
}

TEST(Tickets, ThatALaunchLeftAreNotForked) {
  Twins twins{Backend::cuda, with_splits()};
  Inputs inputs{3};
  fill_up(twins, inputs, 0);
  for (const int32_t sequence : {0, 1}) {
    for (uint32_t* const ticket : tickets_of(twins.cache, sequence)) *ticket = 1;
  }
  twins.cache.cache().fork(0, 1, Stream{});
  twins.fork_oracle(0, 1);
  twins.cache.cache().reset(0, Stream{});
  twins.reset_oracle(0);
  take_steps(twins, inputs, 1);
  twins.expect_same_state();
}

/// The executor aborts such a launch at the first conflict, so tickets keep the values that they have then.
TEST(Tickets, OfASequenceThatIsInABatchTwiceStayItsOwn) {
  const Config config = with_splits();
  Twins twins{Backend::cuda, config};
  Inputs inputs{4};
  for (const int32_t sequence : {0, 1, 2}) fill_up(twins, inputs, sequence);
  for (int batch = 0; batch < 4; ++batch) {
    const Batch twice{{1, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}};
    try {
      static_cast<void>(twins.cache.run(Operation::decode, twice));
    } catch (const Error&) {
    }
    take_steps(twins, inputs, 0);
    twins.run(Operation::attend, {{2, inputs.draw(config, 1)}, {0, inputs.draw(config, 1)}});
  }
  twins.cache.cache().reset(1, Stream{});
  twins.reset_oracle(1);
  fill_up(twins, inputs, 1);
  take_steps(twins, inputs, 1);
  twins.expect_same_state();
}

}  // namespace
}  // namespace hashevict::test
