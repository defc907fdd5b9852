// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

namespace hashevict::bench {
namespace {

__global__ void do_nothing() {}

/// A captured graph, ready to be launched.
class Graph {
 public:
  Graph(cudaStream_t stream, const std::function<void()>& call) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    call();
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
  check(cudaEventRecord(start_, stream_));
  for (int i = 0; i < repeats; ++i) call();
  check(cudaEventRecord(end_, stream_));
  check(cudaEventSynchronize(end_));
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start_, end_));
  return static_cast<double>(milliseconds) * 1e-3 / repeats;
}

int DeviceClock::num_launches(const std::function<void()>& call) {
  return Graph{stream_, call}.num_nodes();
}

double DeviceClock::replay_seconds(int repeats, const std::function<void()>& call) {
  Graph graph{stream_, call};
  graph.launch(stream_);
  return seconds(repeats, [&] { graph.launch(stream_); });
}

double copy_rate() {
  constexpr std::size_t kBytes = std::size_t{1} << 30;
  constexpr int kRepeats = 20;
  DeviceBuffers buffers;
  void* const source = buffers.allocate(kBytes);
  void* const target = buffers.allocate(kBytes);
  DeviceClock clock;
  const auto copy = [&] { check(cudaMemcpyAsync(target, source, kBytes, cudaMemcpyDeviceToDevice, clock.stream())); };
  clock.seconds(kRepeats, copy);  // warms up
  return 2.0 * static_cast<double>(kBytes) / clock.seconds(kRepeats, copy);
}

void launch_nothing(cudaStream_t stream) {
  do_nothing<<<1, 32, 0, stream>>>();
  check(cudaGetLastError());
}

}  // namespace hashevict::bench
