// SPDX-License-Identifier: Apache-2.0
// A layout added by CONTRIBUTING's recipe: slots outermost, all sequences and heads within.
#include <gtest/gtest.h>

#include "support/twins.hpp"

namespace hashevict::test {
namespace {

class AddedLayout : public testing::TestWithParam<Backend> {};
INSTANTIATE_TEST_SUITE_P(Recipe, AddedLayout, testing::Values(Backend::cpu, Backend::cuda),
                         [](const auto& info) { return info.param == Backend::cpu ? "Cpu" : "Host"; });

TEST_P(AddedLayout, HasItsStridesAndChangesNoResult) {
  Config config = small_config();
  config.placement.layout = Layout::slots_outermost;
  Twins twins{GetParam(), config};
  const View view = twins.cache.cache().view(0, 1);
  const int64_t dim = config.shape.head_dim;
  const int64_t heads = config.shape.num_kv_heads;
  EXPECT_EQ(view.keys.stride[0], heads * dim);
  EXPECT_EQ(view.keys.data_as<const float>(), twins.cache.cache().view(0, 0).keys.data_as<const float>() + dim);
  EXPECT_EQ(view.keys.stride[1], config.shape.num_sequences * heads * dim);
  Inputs inputs{1};
  twins.run(Operation::prefill, {{0, inputs.draw(config, 30)}, {1, inputs.draw(config, 20)}});
  twins.run(Operation::decode, {{1, inputs.draw(config, 9)}, {0, inputs.draw(config, 1)}});
  const std::vector<std::byte> saved = twins.cache.cache().save(0, Stream{});
  twins.cache.cache().reset(0, Stream{});
  twins.cache.cache().load(0, saved.data(), saved.size(), Stream{});
  twins.cache.cache().fork(0, 1, Stream{});
  twins.fork_oracle(0, 1);
  twins.run(Operation::append, {{1, inputs.draw(config, 5)}});
  twins.expect_same_state();
}

}  // namespace
}  // namespace hashevict::test
