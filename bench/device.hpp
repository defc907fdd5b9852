// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

/// The device, as benchmarks of the CUDA backend need it.
namespace hashevict::bench {

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error{cudaGetErrorString(error)};
}

/// Device memory that lives as long as its owner.
class DeviceBuffers {
 public:
  DeviceBuffers() = default;
  ~DeviceBuffers() {
    for (void* const buffer : buffers_) static_cast<void>(cudaFree(buffer));
  }
  DeviceBuffers(const DeviceBuffers&) = delete;
  DeviceBuffers& operator=(const DeviceBuffers&) = delete;

  void* allocate(std::size_t bytes) {
    check(cudaMalloc(&buffers_.emplace_back(nullptr), bytes));
    return buffers_.back();
  }
  /// Pageable memory: the copy may still run on the default stream afterwards.
  void* place(const void* host, std::size_t bytes) {
    void* const device = allocate(bytes);
    check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
    return device;
  }

 private:
  std::vector<void*> buffers_;
};

/// A stream that no other stream waits for, with two events.
class DeviceClock {
 public:
  DeviceClock();
  ~DeviceClock();
  DeviceClock(const DeviceClock&) = delete;
  DeviceClock& operator=(const DeviceClock&) = delete;

  [[nodiscard]] cudaStream_t stream() const { return stream_; }
  /// Seconds on the device per call, for `repeats` calls back to back. Earlier work of other streams is finished first.
  double seconds(int repeats, const std::function<void()>& call);
  /// The number of nodes in the graph of `call`: its launches.
  int num_launches(const std::function<void()>& call);
  /// Seconds per call if `calls` of them form one graph that is replayed `repeats` times.
  double replay_seconds(int calls, int repeats, const std::function<void()>& call);

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// The device under the benchmarks and the rates of its memory.
struct DeviceFacts {
  std::string name;
  int num_multiprocessors;
  std::size_t memory_bytes;
  std::size_t l2_bytes;
  double read_rate;  ///< bytes per second of a kernel that only reads, over far more memory than the caches hold
  double copy_rate;  ///< bytes per second, read plus written, of a copy of the same size
};

/// Measures the rates: best of several rounds.
[[nodiscard]] DeviceFacts measure_device();

/// Launches an empty kernel on the stream.
void launch_nothing(cudaStream_t stream);

}  // namespace hashevict::bench
