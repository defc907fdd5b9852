// SPDX-License-Identifier: Apache-2.0
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <hashevict/cache.hpp>
#include <stdexcept>
#include <vector>

#include "support/array.hpp"
#include "support/device.hpp"
#include "support/test_cache.hpp"

/// A decode step is captured once and replayed for every further token. Lengths, rows and victims stay on the device.
namespace hashevict::test {
namespace {

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error{cudaGetErrorString(error)};
}

/// A stream and the graph of the work between begin() and end().
class Recorder {
 public:
  Recorder() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Recorder() {
    if (executable_ != nullptr) static_cast<void>(cudaGraphExecDestroy(executable_));
    static_cast<void>(cudaStreamDestroy(stream_));
  }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  [[nodiscard]] Stream stream() const { return Stream{stream_}; }
  void begin() { check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal)); }
  void end() {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_, &graph));
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    static_cast<void>(cudaGraphDestroy(graph));
    check(error);
  }
  void replay() {
    check(cudaGraphLaunch(executable_, stream_));
    check(cudaStreamSynchronize(stream_));
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

/// One token for each of the cache's sequences, always in the same memory.
struct StepMemory {
  StepMemory(Backend backend, const Config& config)
      : q{backend, DType::float32, {config.shape.num_sequences, config.shape.num_qo_heads, config.shape.head_dim}},
        k{backend, DType::float32, {config.shape.num_sequences, config.shape.num_kv_heads, config.shape.head_dim}},
        v{backend, DType::float32, {config.shape.num_sequences, config.shape.num_kv_heads, config.shape.head_dim}},
        out{backend, DType::float32, {config.shape.num_sequences, config.shape.num_qo_heads, config.shape.head_dim}},
        victims{backend, DType::int32, {config.shape.num_sequences, config.shape.num_kv_heads}} {}

  [[nodiscard]] DecodeArgs args(int32_t layer) const {
    DecodeArgs args;
    args.layer = layer;
    args.q = q.tensor();
    args.k = k.tensor();
    args.v = v.tensor();
    args.out = out.tensor();
    args.victims = victims.tensor();
    return args;
  }

  Array q, k, v, out, victims;
};

Config soak_config(Policy policy, Backend backend) {
  Config config = small_config();
  config.placement.backend = backend;
  config.rule.policy = policy;
  config.shape.num_layers = 2;
  config.shape.num_sequences = 3;
  config.shape.head_dim = 64;
  config.shape.capacity = 600;  // several splits
  config.rule.recent_window = 50;
  return config;
}

class Graph : public testing::TestWithParam<Policy> {};

TEST_P(Graph, OfOneStepIsReplayedForAThousandTokens) {
  if (device::name() != "cuda") GTEST_SKIP() << "no CUDA device can be used here";
  const Config config = soak_config(GetParam(), Backend::cuda);
  const Config host_config = soak_config(GetParam(), Backend::cpu);
  Cache cache{config};
  Cache expected{host_config};
  const StepMemory on_device{Backend::cuda, config};
  const StepMemory on_host{Backend::cpu, config};
  Recorder recorder;
  recorder.begin();
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer)
    cache.decode(on_device.args(layer), recorder.stream());
  recorder.end();

  Inputs inputs{21};
  const auto rows = static_cast<std::size_t>(config.shape.num_sequences);
  for (int token = 0; token < 1200; ++token) {
    const Tokens tokens = inputs.draw(config, rows);
    const auto put = [](const std::vector<float>& values, const Array& device, const Array& host) {
      upload(Backend::cuda, values.data(), device.tensor().data, values.size() * sizeof(float));
      upload(Backend::cpu, values.data(), host.tensor().data, values.size() * sizeof(float));
    };
    put(tokens.q, on_device.q, on_host.q);
    put(tokens.k, on_device.k, on_host.k);
    put(tokens.v, on_device.v, on_host.v);
    recorder.replay();
    for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) expected.decode(on_host.args(layer), Stream{});
    ASSERT_EQ(on_device.victims.ints(), on_host.victims.ints()) << "token " << token;
    const std::vector<float> out = on_device.out.floats();
    const std::vector<float> reference = on_host.out.floats();
    for (std::size_t i = 0; i < out.size(); ++i) ASSERT_NEAR(out[i], reference[i], 1e-5) << "token " << token;
  }
}

INSTANTIATE_TEST_SUITE_P(On, Graph, testing::Values(Policy::hash, Policy::superseded, Policy::mean));

}  // namespace
}  // namespace hashevict::test
