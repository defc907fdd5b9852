// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <algorithm>
#include <cstdint>

namespace hashevict::bench {
namespace {

constexpr int kReadThreads = 256;
constexpr int kBlocksPerMultiprocessor = 8;
constexpr int kLoads = 4;  // loads of 16 bytes in flight per thread: 128 KB per multiprocessor

__global__ void do_nothing() {}

/// Reads `count` elements and adds their sum to `sum`, so that the compiler cannot omit a load.
__global__ void __launch_bounds__(kReadThreads)
    read_all(const uint4* __restrict__ data, std::size_t count, uint32_t* sum) {
  const std::size_t stride = std::size_t{gridDim.x} * kReadThreads;
  std::size_t i = std::size_t{blockIdx.x} * kReadThreads + threadIdx.x;
  uint32_t own = 0;
  for (; i + (kLoads - 1) * stride < count; i += kLoads * stride) {
    uint4 loaded[kLoads];
#pragma unroll
    for (int k = 0; k < kLoads; ++k) loaded[k] = __ldcs(data + i + k * stride);
#pragma unroll
    for (int k = 0; k < kLoads; ++k) own += loaded[k].x + loaded[k].y + loaded[k].z + loaded[k].w;
  }
  for (; i < count; i += stride) {
    const uint4 x = __ldcs(data + i);
    own += x.x + x.y + x.z + x.w;
  }
  own = __reduce_add_sync(0xFFFFFFFFU, own);
  if (threadIdx.x % warpSize == 0) atomicAdd(sum, own);
}

/// A captured graph, ready to be launched.
class Graph {
 public:
  Graph(cudaStream_t stream, int calls, const std::function<void()>& call) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      for (int i = 0; i < calls; ++i) call();
    } catch (...) {  // a stream that is still capturing would make all later calls fail
      static_cast<void>(cudaStreamEndCapture(stream, &graph_));
      if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph_));
  }
  ~Graph() {
    if (executable_ != nullptr) static_cast<void>(cudaGraphExecDestroy(executable_));
    static_cast<void>(cudaGraphDestroy(graph_));
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  [[nodiscard]] int num_nodes() const {
    std::size_t nodes = 0;
    check(cudaGraphGetNodes(graph_, nullptr, &nodes));
    return static_cast<int>(nodes);
  }
  void launch(cudaStream_t stream) {
    if (executable_ == nullptr) check(cudaGraphInstantiate(&executable_, graph_, 0));
    check(cudaGraphLaunch(executable_, stream));
  }

 private:
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t executable_ = nullptr;
};

/// The best bytes per second over several rounds of a call that moves `bytes`.
double best_rate(DeviceClock& clock, double bytes, const std::function<void()>& call) {
  constexpr int kRounds = 5;
  constexpr int kRepeats = 5;
  clock.seconds(kRepeats, call);  // warm-up
  double best = clock.seconds(kRepeats, call);
  for (int round = 1; round < kRounds; ++round) best = std::min(best, clock.seconds(kRepeats, call));
  return bytes / best;
}

}  // namespace

DeviceClock::DeviceClock() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  check(cudaEventCreate(&start_));
  check(cudaEventCreate(&end_));
}

DeviceClock::~DeviceClock() {
  static_cast<void>(cudaEventDestroy(end_));
  static_cast<void>(cudaEventDestroy(start_));
  static_cast<void>(cudaStreamDestroy(stream_));
}

double DeviceClock::seconds(int repeats, const std::function<void()>& call) {
  check(cudaDeviceSynchronize());
  check(cudaEventRecord(start_, stream_));
  for (int i = 0; i < repeats; ++i) call();
  check(cudaEventRecord(end_, stream_));
  check(cudaEventSynchronize(end_));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, end_));
  return static_cast<double>(milliseconds) * 1e-3 / repeats;
}

int DeviceClock::num_launches(const std::function<void()>& call) {
  return Graph{stream_, 1, call}.num_nodes();
}

double DeviceClock::replay_seconds(int calls, int repeats, const std::function<void()>& call) {
  check(cudaDeviceSynchronize());
  Graph graph{stream_, calls, call};
  graph.launch(stream_);
  return seconds(repeats, [&] { graph.launch(stream_); }) / calls;
}

DeviceFacts measure_device() {
  constexpr std::size_t kBytes = std::size_t{2} << 30;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0));
  DeviceFacts facts{.name = properties.name,
                    .num_multiprocessors = properties.multiProcessorCount,
                    .memory_bytes = properties.totalGlobalMem,
                    .l2_bytes = static_cast<std::size_t>(properties.l2CacheSize),
                    .read_rate = 0,
                    .copy_rate = 0};
  DeviceBuffers buffers;
  void* const source = buffers.allocate(kBytes);
  void* const target = buffers.allocate(kBytes);
  auto* const sum = static_cast<uint32_t*>(buffers.allocate(sizeof(uint32_t)));
  check(cudaMemset(source, 1, kBytes));
  check(cudaMemset(sum, 0, sizeof *sum));
  DeviceClock clock;
  facts.read_rate = best_rate(clock, static_cast<double>(kBytes), [&] {
    read_all<<<static_cast<unsigned>(facts.num_multiprocessors * kBlocksPerMultiprocessor), kReadThreads, 0,
               clock.stream()>>>(static_cast<const uint4*>(source), kBytes / sizeof(uint4), sum);
    check(cudaGetLastError());
  });
  facts.copy_rate = best_rate(clock, 2.0 * static_cast<double>(kBytes), [&] {
    check(cudaMemcpyAsync(target, source, kBytes, cudaMemcpyDeviceToDevice, clock.stream()));
  });
  return facts;
}

void launch_nothing(cudaStream_t stream) {
  do_nothing<<<1, 32, 0, stream>>>();
  check(cudaGetLastError());
}

}  // namespace hashevict::bench
