// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

/// What benchmarks of the CUDA backend need of the device.
namespace hashevict::bench {

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error{cudaGetErrorString(error)};
}

/// Device memory that lives until its owner goes.
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
  void* place(const void* host, std::size_t bytes) {
    void* const device = allocate(bytes);
    check(cudaMemcpy(device, host, bytes, cudaMemcpyHostToDevice));
    return device;
  }

 private:
  std::vector<void*> buffers_;
};

/// A stream and two events on it.
class DeviceClock {
 public:
  DeviceClock();
  ~DeviceClock();
  DeviceClock(const DeviceClock&) = delete;
  DeviceClock& operator=(const DeviceClock&) = delete;

  [[nodiscard]] cudaStream_t stream() const { return stream_; }
  /// Seconds that one of `repeats` calls took on the device, put there back to back.
  double seconds(int repeats, const std::function<void()>& call);
  /// Nodes of the graph that `call` captures as: what it launches.
  int num_launches(const std::function<void()>& call);
  /// The same work replayed from a graph: seconds per replay.
  double replay_seconds(int repeats, const std::function<void()>& call);

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

/// Bytes per second, read and written, of a copy within device memory that is far larger than its caches.
double copy_rate();

/// Puts a kernel on the stream that does nothing.
void launch_nothing(cudaStream_t stream);

}  // namespace hashevict::bench
