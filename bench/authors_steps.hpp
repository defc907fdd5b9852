// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "device.hpp"
#include "workload.hpp"

namespace hashevict::bench {

/// A step's eviction as the authors' code states it, one tensor operation after the other and a launch for each:
/// product of the new keys with the projection, signs packed into codes, distances to all codes, argmax, and the new
/// rows of keys, values and codes in the victims' slots. The operations are those of torch, without its overhead.
class AuthorsSteps {
 public:
  /// Lays out random codes, keys and values of full layers like those of the shape. Elements have 16 bits.
  AuthorsSteps(const Shape& shape, DeviceBuffers& buffers);

  /// Evicts for one token per sequence of the step's layer.
  void evict(const DecodeArgs& step, cudaStream_t stream) const;

 private:
  [[nodiscard]] std::size_t slots() const;  ///< of all heads and sequences of a layer

  Shape shape_;
  int32_t heads_;        ///< of all sequences
  uint32_t* codes_;      ///< [layers, heads, slots, words]
  uint16_t* keys_;       ///< [layers, heads, slots, head_dim]
  uint16_t* values_;     ///< the same
  float* projection_;    ///< [head_dim, bits]
  float* products_;      ///< [heads, bits]
  uint32_t* new_codes_;  ///< [heads, words]
  int32_t* distances_;   ///< [heads, slots]
  int32_t* victims_;     ///< [heads]
};

}  // namespace hashevict::bench
