// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

namespace hashevict::simt {

/// nullptr, or the runtime's message. Clears the error, which the runtime would report again at the caller's next call.
inline const char* message_of(cudaError_t error) {
  if (error == cudaSuccess) return nullptr;
  static_cast<void>(cudaGetLastError());
  return cudaGetErrorString(error);
}

/// Makes a kernel ready on the current device. Asking for its attributes loads it. The limit of shared memory is the
/// same for every cache of the process, so no cache lowers another's. Static shared memory counts toward a block's
/// limit. Kernels compiled for compute_90 or later wait for the launch before them. With programmatic dependent launch
/// a launch starts while the one before ends, which saves more time than the eviction of a small step takes.
template <class Params>
Prepared prepare(void (*kernel)(Params)) {
  cudaFuncAttributes attributes{};
  int device = 0;
  int most = 0;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  const int left = most - static_cast<int>(attributes.sharedSizeBytes);
  if (error == cudaSuccess) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, left);
  return {message_of(error), left, attributes.ptxVersion >= 90};
}

/// A launch as the runtime takes it.
class LaunchConfig {
 public:
  LaunchConfig(const Extents& extents, const Queue& queue) {
    config_.gridDim = dim3(static_cast<unsigned>(extents.grid_x), static_cast<unsigned>(extents.grid_y));
    config_.blockDim = dim3(static_cast<unsigned>(extents.threads));
    config_.dynamicSmemBytes = static_cast<size_t>(extents.shared_bytes);
    config_.stream = static_cast<cudaStream_t>(queue.stream);
    config_.attrs = attributes_;
    if (queue.overlaps) {
      cudaLaunchAttribute& overlap = attributes_[config_.numAttrs++];
      overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      overlap.val.programmaticStreamSerializationAllowed = 1;
    }
    if (extents.cluster > 1) {
      cudaLaunchAttribute& cluster = attributes_[config_.numAttrs++];
      cluster.id = cudaLaunchAttributeClusterDimension;
      cluster.val.clusterDim = {static_cast<unsigned>(extents.cluster), 1, 1};
    }
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;

  [[nodiscard]] const cudaLaunchConfig_t* get() const { return &config_; }

 private:
  cudaLaunchConfig_t config_{};
  cudaLaunchAttribute attributes_[2]{};
};

/// Makes a kernel ready that runs in clusters, and finds those that the device can run: of up to 8 blocks, which every
/// device with clusters has, and twice as many where the kernel and the device allow it.
/// @param bytes (blocks of a cluster) the dynamic shared memory of a block
template <class Params, class Bytes>
Prepared prepare_clusters(void (*kernel)(Params), int32_t threads, const Bytes& bytes) {
  constexpr int32_t kEverywhere = 8;
  Prepared prepared = prepare(kernel);
  int device = 0;
  int has_clusters = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&has_clusters, cudaDevAttrClusterLaunch, device);
  if (prepared.error == nullptr) prepared.error = message_of(error);
  if (prepared.error != nullptr || has_clusters == 0 || !prepared.overlaps) return prepared;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);
  const auto active = [&](int32_t blocks) {
    int clusters = 0;
    if (error != cudaSuccess || bytes(blocks) > prepared.shared_bytes) return 0;
    const LaunchConfig config{{blocks, 1, threads, bytes(blocks), blocks}, {}};
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, config.get()) == cudaSuccess) return clusters;
    static_cast<void>(cudaGetLastError());  // no cluster of this size fits
    return 0;
  };
  int32_t blocks = kEverywhere;
  while (blocks > 0 && active(blocks) == 0) blocks /= 2;
  prepared.clusters = {blocks, blocks == kEverywhere ? active(2 * blocks) : 0};
  prepared.error = message_of(error);
  return prepared;
}

/// Makes a kernel ready that needs bulk copies, which all devices from sm_90 on have, and finds whether it can run.
/// @param bytes the dynamic shared memory of a block
template <class Params>
Prepared prepare_bulk(void (*kernel)(Params), int32_t bytes) {
  Prepared prepared = prepare(kernel);
  prepared.bulk = prepared.overlaps && bytes <= prepared.shared_bytes;
  return prepared;
}

/// Whether a launch may use bulk copies.
inline bool has_bulk_copies(const Queue& queue) {
  return queue.bulk;
}

/// The clusters of a launch.
inline Clusters clusters_of(const Queue& queue) {
  return queue.clusters;
}

/// Puts a launch on a stream. @return nullptr, or the runtime's message
template <class Params>
const char* launch(void (*kernel)(Params), const Extents& extents, const Params& params, const Queue& queue) {
  if (extents.grid_x == 0 || extents.grid_y == 0) return nullptr;
  const LaunchConfig config{extents, queue};
  return message_of(cudaLaunchKernelEx(config.get(), kernel, params));
}

}  // namespace hashevict::simt
