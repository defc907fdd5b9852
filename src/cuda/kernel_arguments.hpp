// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/layer.hpp"
#include "core/step.hpp"
#include "kernels/launch.hpp"

/// Converts validated arguments to the kernels' parameters.
namespace hashevict::cuda {

inline kernels::Vectors vectors(const core::TensorView& view) {
  return {view.data, view.dtype, {view.stride[0], view.stride[1], view.stride[2]}};
}

inline kernels::MutableVectors mutable_vectors(const core::TensorView& view) {
  return {view.data, view.dtype, {view.stride[0], view.stride[1], view.stride[2]}};
}

template <class T>
kernels::Numbers<T> numbers(const core::TensorView& view) {
  return {reinterpret_cast<T*>(view.data), {view.stride[0], view.stride[1]}};
}

inline kernels::Batch batch_of(const core::Step& step, const core::Layer& layer) {
  return {.row_to_sequence = step.row_to_sequence,
          .cu_seqlens = step.cu_seqlens,
          .rows = step.rows,
          .tokens = static_cast<int32_t>(step.tokens),
          .num_sequences = layer.shape.num_sequences};
}

inline kernels::EvictParams evict_params(const core::Step& step, const core::Layer& layer, bool store) {
  return {.layer = layer,
          .batch = batch_of(step, layer),
          .q = vectors(step.q),
          .k = vectors(step.k),
          .v = vectors(step.v),
          .slots = numbers<int32_t>(step.slots),
          .victims = numbers<int32_t>(step.victims),
          .store = store ? 1 : 0,
          .importance = numbers<const float>(step.importance),
          .importance_slope = numbers<const float>(step.importance_slope)};
}

}  // namespace hashevict::cuda
