// SPDX-License-Identifier: Apache-2.0
// The calls of src/cuda/runtime.cpp and of launches to the CUDA runtime, and their order. Both are compiled unchanged
// against a fake (fake_cuda/).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "core/failure.hpp"
#include "cuda/runtime.hpp"
#include "kernels/detail/launch.cuh"

namespace hashevict::cuda {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class Runtime : public testing::Test {
 protected:
  Runtime() { fake_cuda::runtime() = {}; }
  ~Runtime() override { fake_cuda::runtime() = {}; }
  fake_cuda::Runtime& fake_ = fake_cuda::runtime();
};

void kernel(int /*unused*/) {}

TEST_F(Runtime, CurrentDeviceSetsNothingWhereItIsCurrentAlready) {
  fake_.device = 1;
  { const CurrentDevice current{1}; }
  EXPECT_THAT(fake_.calls, ElementsAre("cudaGetDevice"));
}

TEST_F(Runtime, CurrentDeviceBringsThePreviousOneBack) {
  { const CurrentDevice current{1}; }
  EXPECT_THAT(fake_.calls, ElementsAre("cudaGetDevice", "cudaSetDevice 1", "cudaSetDevice 0"));
  EXPECT_EQ(fake_.device, 0);
}

TEST_F(Runtime, CapabilityIsAskedForWithoutAContext) {
  EXPECT_EQ(compute_capability(0), 86);
  EXPECT_THAT(fake_.calls, ElementsAre("cudaDeviceGetAttribute", "cudaDeviceGetAttribute"));
}

TEST_F(Runtime, CopyOfRunsWithGapsIsOneCall) {
  std::byte memory[64]{};
  copy_to_host(memory, memory, {4, 3, 4, 16}, nullptr);
  copy_to_device(memory, memory, {4, 3, 8, 16}, nullptr);
  EXPECT_THAT(fake_.calls, ElementsAre("cudaMemcpy2DAsync 4 16 4 3", "cudaMemcpy2DAsync 16 8 4 3"));
}

TEST_F(Runtime, CopyOfRunsWithoutGapsIsAPlainOne) {
  std::byte memory[64]{};
  copy_to_host(memory, memory, {4, 3, 4, 4}, nullptr);
  copy_to_host(memory, memory, {12}, nullptr);
  EXPECT_THAT(fake_.calls, ElementsAre("cudaMemcpyAsync 12", "cudaMemcpyAsync 12"));
}

TEST_F(Runtime, CopyOfNothingIsNoCall) {
  copy_to_host(nullptr, nullptr, {0}, nullptr);
  EXPECT_THAT(fake_.calls, IsEmpty());
}

TEST_F(Runtime, CopyOfRunsFurtherApartThanTheRuntimeTakesIsACallEach) {
  std::byte memory[64]{};
  copy_to_host(memory, memory, {4, 2, 4, uint64_t{1} << 31}, nullptr);
  EXPECT_THAT(fake_.calls, ElementsAre("cudaMemcpyAsync 4", "cudaMemcpyAsync 4"));
}

TEST_F(Runtime, FailureIsNotReportedAgainAtTheNextCall) {
  fake_.error = cudaErrorInvalidValue;
  EXPECT_THROW(wait(nullptr), core::Failure);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(Runtime, PrepareLeavesAKernelWhatStaticSharedMemoryDoesNotTake) {
  fake_.static_bytes = 160;
  const simt::Prepared prepared = simt::prepare(kernel);
  EXPECT_EQ(prepared.error, nullptr);
  EXPECT_EQ(prepared.shared_bytes, 232448 - 160);
  EXPECT_TRUE(prepared.overlaps);
  EXPECT_EQ(fake_.calls.front(), "cudaFuncGetAttributes");  // this call loads the kernel
  EXPECT_EQ(fake_.calls.back(), "cudaFuncSetAttribute 232288");
}

TEST_F(Runtime, KernelOfOlderPtxOverlapsNoLaunch) {
  fake_.ptx_version = 80;
  EXPECT_FALSE(simt::prepare(kernel).overlaps);
}

TEST_F(Runtime, PrepareThatFailsSaysSoAndClearsTheError) {
  fake_.error = cudaErrorInvalidValue;
  EXPECT_STREQ(simt::prepare(kernel).error, "invalid argument");
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

TEST_F(Runtime, LaunchAsksForNothingElse) {
  EXPECT_EQ(simt::launch(kernel, {2, 1, 32, 100 * 1024}, 0, {nullptr, true}), nullptr);
  EXPECT_THAT(fake_.calls, ElementsAre("cudaLaunchKernelEx"));
  EXPECT_EQ(fake_.num_attributes, 1U);
  EXPECT_EQ(simt::launch(kernel, {2, 1, 32, 0}, 0, {nullptr, false}), nullptr);
  EXPECT_EQ(fake_.num_attributes, 0U);
}

TEST_F(Runtime, BulkCopiesAreForKernelsOfTheirDevicesThatFit) {
  EXPECT_TRUE(simt::prepare_bulk(kernel, 232448).bulk);
  EXPECT_FALSE(simt::prepare_bulk(kernel, 232449).bulk);
  fake_.ptx_version = 80;
  EXPECT_FALSE(simt::prepare_bulk(kernel, 1024).bulk);
}

TEST_F(Runtime, ClustersAreThoseThatFit) {
  const auto clusters_of = [](int32_t largest, int32_t bytes) {
    fake_cuda::runtime().largest_cluster = largest;
    const simt::Prepared prepared = simt::prepare_clusters(kernel, 128, [=](int32_t) { return bytes; });
    EXPECT_EQ(prepared.error, nullptr);
    return std::pair{prepared.clusters.blocks, prepared.clusters.twice_as_large};
  };
  EXPECT_EQ(clusters_of(16, 1024), std::pair(8, 8));
  EXPECT_EQ(clusters_of(8, 1024), std::pair(8, 0));
  EXPECT_EQ(clusters_of(4, 1024), std::pair(4, 0));
  EXPECT_EQ(clusters_of(16, 232449), std::pair(0, 0));
  EXPECT_EQ(clusters_of(0, 1024), std::pair(0, 0));
  fake_.ptx_version = 80;
  EXPECT_EQ(clusters_of(16, 1024), std::pair(0, 0));
}

TEST_F(Runtime, LaunchOfClustersSaysSo) {
  EXPECT_EQ(simt::launch(kernel, {16, 1, 32, 0, 8}, 0, {nullptr, true}), nullptr);
  EXPECT_EQ(fake_.num_attributes, 2U);
  EXPECT_EQ(fake_.cluster, 8U);
}

TEST_F(Runtime, LaunchOfAnEmptyGridIsNoCall) {
  EXPECT_EQ(simt::launch(kernel, {0, 1, 32, 0}, 0, {}), nullptr);
  EXPECT_THAT(fake_.calls, IsEmpty());
}

TEST_F(Runtime, LaunchThatFailsClearsTheError) {
  fake_.error = cudaErrorInvalidValue;
  EXPECT_STREQ(simt::launch(kernel, {1, 1, 32, 0}, 0, {}), "invalid argument");
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);
}

}  // namespace
}  // namespace hashevict::cuda
