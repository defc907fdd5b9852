// SPDX-License-Identifier: Apache-2.0
// The devices that the CUDA backend accepts, and its calls to them. The device is a fake that counts calls.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "cuda/devices.hpp"
#include "simt/runtime.hpp"
#include "support/twins.hpp"

namespace hashevict::test {
namespace {

/// Replaces the machine's devices until the test ends.
class Devices : public testing::Test {
 protected:
  ~Devices() override {
    played_.capabilities = {90};
    played_.architectures = "80-real,90";
  }
  simt::Devices& played_ = simt::Devices::instance();
};

Config on_device(Backend backend, int32_t device) {
  Config config = small_config();
  config.placement.backend = backend;
  config.placement.device = device;
  return config;
}

/// The message of a failed creation, whose status must be `status`.
std::string refusal(const Config& config, Status status) {
  try {
    const Cache cache{config};
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), status) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "the cache was created";
  return {};
}

TEST(RunsOn, MachineCodeRunsOnLaterMinorVersionsAndPtxOnAllLaterOnes) {
  EXPECT_TRUE(cuda::runs_on("80-real,90", 80));
  EXPECT_TRUE(cuda::runs_on("80-real,90", 89));
  EXPECT_TRUE(cuda::runs_on("80-real,90", 90));
  EXPECT_TRUE(cuda::runs_on("80-real,90", 120));
  EXPECT_FALSE(cuda::runs_on("80-real,90", 75));
  EXPECT_FALSE(cuda::runs_on("86-real", 80));
  EXPECT_FALSE(cuda::runs_on("90-real", 100));
  EXPECT_TRUE(cuda::runs_on("86-virtual", 120));
  EXPECT_FALSE(cuda::runs_on("86-virtual", 80));
}

TEST(RunsOn, WhatIsForOneArchitectureOrFamilyRunsThereAlone) {
  EXPECT_TRUE(cuda::runs_on("90a", 90));
  EXPECT_FALSE(cuda::runs_on("90a-virtual", 100));
  EXPECT_TRUE(cuda::runs_on("100f-real", 103));
  EXPECT_FALSE(cuda::runs_on("100f", 120));
  EXPECT_FALSE(cuda::runs_on("", 90));
}

TEST_F(Devices, AutoTakesTheCpuWhereTheDeviceIsOlderThanTheKernels) {
  played_.capabilities = {75};
  EXPECT_EQ(Cache{on_device(Backend::automatic, 0)}.config().placement.backend, Backend::cpu);
}

TEST_F(Devices, AutoLooksAtTheDeviceThatWasAskedFor) {
  played_.capabilities = {75, 90};
  EXPECT_EQ(Cache{on_device(Backend::automatic, 0)}.config().placement.backend, Backend::cpu);
  EXPECT_EQ(Cache{on_device(Backend::automatic, 1)}.config().placement.backend, Backend::cuda);
}

TEST_F(Devices, AutoRefusesADeviceThatThereIsNot) {
  const std::string message = refusal(on_device(Backend::automatic, 3), Status::invalid_argument);
  EXPECT_EQ(message, "config.placement.device = 3: expected 0 to 0");
}

TEST_F(Devices, CudaByNameIsUnsupportedWhereTheDeviceIsOlderThanTheKernels) {
  played_.capabilities = {90, 75};
  const std::string message = refusal(on_device(Backend::cuda, 1), Status::unsupported);
  EXPECT_NE(message.find("compute capability 7.5"), std::string::npos) << message;
  EXPECT_NE(message.find("80-real,90"), std::string::npos) << message;
}

TEST_F(Devices, CudaByNameIsUnsupportedWithoutADevice) {
  played_.capabilities = {};
  const std::string message = refusal(on_device(Backend::cuda, 0), Status::unsupported);
  EXPECT_NE(message.find("no CUDA device"), std::string::npos) << message;
}

TEST_F(Devices, CapabilitiesCountThoseThatRunTheKernels) {
  played_.capabilities = {75, 90, 70, 86};
  EXPECT_EQ(Cache::capabilities().num_cuda_devices, 2);
}

TEST_F(Devices, CapabilitiesOfCudaAreUnsupportedWhereNoDeviceRunsTheKernels) {
  played_.capabilities = {75, 70};
  EXPECT_THROW(static_cast<void>(Cache::capabilities(Backend::cuda)), Error);
  EXPECT_EQ(Cache::capabilities().num_cuda_devices, 0);
}

/// The number of waits for the device during `call`.
template <class Call>
int32_t waits_of(const Call& call) {
  const int32_t before = simt::Devices::instance().waits;
  call();
  return simt::Devices::instance().waits - before;
}

template <class Call>
int32_t fills_of(const Call& call) {
  const int32_t before = simt::Devices::instance().fills;
  call();
  return simt::Devices::instance().fills - before;
}

/// A config of this size. Each layer, sequence and head could cost a separate copy.
Config sized(int32_t layers, int32_t sequences, int32_t heads) {
  Config config = small_config();
  config.placement.backend = Backend::cuda;
  config.shape.num_layers = layers;
  config.shape.num_sequences = sequences;
  config.shape.num_kv_heads = heads;
  config.shape.num_qo_heads = 2 * heads;
  config.rule.projection_per_head = true;
  config.rule.centering = Centering::prompt;
  config.rule.policy = Policy::superseded;
  return config;
}

TEST(DeviceWaits, CreatingACacheWaitsOnce) {
  for (const Config& config : {sized(1, 1, 1), sized(3, 4, 3)}) {
    EXPECT_EQ(waits_of([&] { const Cache cache{config}; }), 1);
  }
}

TEST(DeviceWaits, StatisticsWaitOnce) {
  for (const Config& config : {sized(1, 1, 1), sized(3, 4, 3)}) {
    Cache cache{config};
    EXPECT_EQ(waits_of([&] { static_cast<void>(cache.statistics(Stream{})); }), 1);
    EXPECT_EQ(waits_of([&] { static_cast<void>(cache.statistics(0, -1, 0, Stream{})); }), 1);
  }
}

TEST(DeviceWaits, SaveAndLoadWaitAsOftenForMuchAsForLittle) {
  for (const Arrangement arrangement :
       {Arrangement::owned, Arrangement::strided, Arrangement::padded_pages, Arrangement::csr_pages,
        Arrangement::padded_head_pages, Arrangement::csr_head_pages}) {
    SCOPED_TRACE("arrangement " + std::to_string(static_cast<int>(arrangement)));
    std::vector<int32_t> saves, loads;
    for (const auto& [config, tokens] : {std::pair{sized(1, 2, 1), 1}, std::pair{sized(3, 4, 3), 30}}) {
      TestCache cache{Backend::cuda, config, arrangement};
      Inputs inputs{1};
      Options options;
      for (; options.layer < config.shape.num_layers; ++options.layer) {
        static_cast<void>(
            cache.run(Operation::prefill, {{1, inputs.draw(config, static_cast<std::size_t>(tokens))}}, options));
      }
      std::vector<std::byte> saved;
      saves.push_back(waits_of([&] { saved = cache.cache().save(1, Stream{}); }));
      loads.push_back(waits_of([&] { cache.cache().load(0, saved.data(), saved.size(), Stream{}); }));
      EXPECT_EQ(cache.cache().save(0, Stream{}), saved);
    }
    EXPECT_EQ(saves[0], saves[1]);
    EXPECT_EQ(loads[0], loads[1]);
    EXPECT_LE(saves[0], 4);
    EXPECT_LE(loads[0], 4);
  }
}

TEST(DeviceFills, ResetOfAllFillsEachArrayOnce) {
  Cache of_one{sized(2, 1, 2)};
  Cache of_many{sized(2, 5, 2)};
  const int32_t fills = fills_of([&] { of_one.reset(Stream{}); });
  EXPECT_EQ(fills_of([&] { of_many.reset(Stream{}); }), fills);
  EXPECT_EQ(fills_of([&] { of_many.reset(3, Stream{}); }), fills);
  EXPECT_EQ(waits_of([&] { of_many.reset(Stream{}); }), 0);
}

/// Rows that are skipped take blocks as well: 2^20 rows of 2^11 splits are one block too many.
TEST(DeviceRows, BeyondTheBlocksOfALaunchAreRefused) {
  constexpr int64_t kRows = 1 << 20;
  constexpr int32_t kHeads = 64;
  Config config = sized(1, 1, kHeads);
  config.shape.num_qo_heads = kHeads;
  config.shape.head_dim = 8;
  config.shape.capacity = 1 << 13;
  config.execution.max_batch_tokens = kRows;
  Cache cache{config};
  const std::vector<int32_t> skipped(kRows, -1);
  const std::vector<float> vector(8);
  const std::unique_ptr<float[]> out{new float[kRows * kHeads * 8]};  // not initialised: nobody touches its 2 GiB
  const Tensor same{vector.data(), {kRows, kHeads, 8}, {0, 0, 1}};
  DecodeArgs step;
  step.batch.row_to_sequence = Tensor{skipped.data(), {kRows}};
  step.q = step.k = step.v = same;
  step.out = Tensor{out.get(), {kRows, kHeads, 8}};
  PrefillArgs prompt;
  prompt.batch = step.batch;
  prompt.q = prompt.k = prompt.v = same;
  const auto message_of = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::invalid_argument);
      return error.what();
    }
    return {};
  };
  const std::string expected =
      "args.batch: 1048576 rows: expected at most 1048575 on a CUDA device, where each takes 2048 blocks in layer 0";
  EXPECT_EQ(message_of([&] { cache.decode(step, Stream{}); }), expected);
  EXPECT_EQ(message_of([&] { cache.prefill(prompt, Stream{}); }), expected);
}

}  // namespace
}  // namespace hashevict::test
