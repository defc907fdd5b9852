// SPDX-License-Identifier: Apache-2.0
// Decoding by clusters of blocks gives the bits of the kernel without clusters, whatever the size of the cluster.
#include <gtest/gtest.h>

#include <string>

#include "kernels/detail/launch.cuh"
#include "kernels/launch.hpp"
#include "simt/runtime.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

/// Restores the drawn clusters when the test ends.
class DecodeCluster : public testing::Test {
 protected:
  ~DecodeCluster() override { schedule_.clusters = SIZE_MAX; }
  simt::Schedule& schedule_ = simt::Schedule::instance();

  /// Decodes with each choice of clusters, and compares all with the first.
  void expect_same_bits(const Config& config, DType input, Arrangement arrangement = Arrangement::owned) {
    Options options;
    options.input = input;
    std::vector<Outcome> first;
    std::vector<State> first_states;
    for (std::size_t choice = 0; choice < std::size(simt::kClusters); ++choice) {
      SCOPED_TRACE(testing::Message() << "clusters " << choice);
      schedule_.clusters = choice;
      TestCache cache{Backend::cuda, config, arrangement};
      Inputs inputs{1};
      const auto draw = [&](std::size_t count) { return inputs.draw(config, count, input); };
      options.mode = PrefillMode::recent;
      const auto capacity = static_cast<std::size_t>(config.shape.capacity);
      cache.run(Operation::prefill, {{1, draw(capacity + 3)}, {0, draw(capacity / 2)}}, options);
      std::vector<Outcome> all;
      const auto decode = [&](const Batch& batch) {
        for (Outcome& outcome : cache.run(Operation::decode, batch, options)) all.push_back(std::move(outcome));
      };
      decode({{0, draw(1)}, {-1, draw(1)}, {1, draw(1)}});
      decode({{1, draw(3)}, {0, draw(1)}});
      if (choice == 0) {
        first = all;
        first_states = cache.states();
        continue;
      }
      for (std::size_t i = 0; i < all.size(); ++i) expect_same(all[i], first[i]);
      for (std::size_t i = 0; i < first_states.size(); ++i) expect_same(cache.states()[i], first_states[i]);
    }
  }
};

Config sized(int32_t capacity, int32_t group, int32_t head_dim, DType dtype) {
  Config config = small_config();
  config.shape.num_kv_heads = 1;
  config.shape.num_qo_heads = group;
  config.shape.head_dim = head_dim;
  config.shape.capacity = capacity;
  config.shape.dtype = dtype;
  config.execution.max_batch_tokens = 4096;
  return config;
}

TEST_F(DecodeCluster, OfAnySizeGivesTheSameBitsOnTensorCores) {
  expect_same_bits(sized(600, 9, 40, DType::bfloat16), DType::bfloat16);
  expect_same_bits(sized(260, 4, 128, DType::float16), DType::float16);
  expect_same_bits(sized(260, 4, 136, DType::bfloat16), DType::bfloat16);
}

TEST_F(DecodeCluster, OfAnySizeGivesTheSameBitsElsewhere) {
  expect_same_bits(sized(1100, 1, 8, DType::float32), DType::float32);
  expect_same_bits(sized(260, 2, 128, DType::bfloat16), DType::bfloat16);
  expect_same_bits(sized(260, 5, 256, DType::float32), DType::float16);
}

TEST_F(DecodeCluster, OfAnySizeGivesTheSameBitsWhereverRowsLie) {
  for (const Arrangement arrangement : kArrangements) {
    SCOPED_TRACE("arrangement " + std::to_string(static_cast<int>(arrangement)));
    Config config = sized(260, 4, 16, DType::float16);
    config.shape.num_kv_heads = 2;
    config.shape.num_qo_heads = 8;
    config.placement.layout = Layout::slot_major;
    expect_same_bits(config, DType::float16, arrangement);
  }
}

kernels::DecodeParams params_of(int32_t rows, int32_t heads, int32_t capacity) {
  kernels::DecodeParams params{};
  params.evict.batch.rows = rows;
  params.evict.layer.shape.num_kv_heads = heads;
  params.evict.layer.max_capacity = capacity;
  return params;
}

TEST(DecodeClusterSize, FollowsTheSplitsUpToTheLargestCluster) {
  const kernels::Clusters clusters{8, 0};
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 256), clusters), 1);
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 600), clusters), 4);
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 4096), clusters), 8);
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 4096), {2, 0}), 2);
}

TEST(DecodeClusterSize, IsTwiceAsLargeOnlyWhereAllClustersRunAtOnce) {
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 4096), {8, 8}), 16);
  EXPECT_EQ(kernels::decode_cluster_size(params_of(2, 8, 4096), {8, 8}), 8);
  EXPECT_EQ(kernels::decode_cluster_size(params_of(1, 8, 2048), {8, 8}), 8);
}

TEST(DecodeClusterSize, IsNoneWithoutClustersOrWithRowsThatAreNotAligned) {
  kernels::DecodeParams params = params_of(1, 8, 4096);
  EXPECT_EQ(kernels::decode_cluster_size(params, {}), 0);
  params.evict.layer.kv.slot_stride = 264;
  EXPECT_EQ(kernels::decode_cluster_size(params, {8, 8}), 0);
}

}  // namespace
}  // namespace hashevict::test
