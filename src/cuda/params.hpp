// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/step.hpp"
#include "core/storage.hpp"
#include "kernels/launch.hpp"

/// Validated arguments as kernels want them.
namespace hashevict::cuda {

kernels::Layer layer_params(const core::Storage& storage, int32_t layer);
kernels::Batch batch_params(const core::Step& step, const core::Settings& settings);
kernels::EvictParams evict_params(const core::Step& step, const core::Settings& settings, const kernels::Layer& layer,
                                  bool store);

inline kernels::Vectors vectors(const core::TensorView& view) {
  return {view.data, static_cast<int32_t>(view.dtype), {view.stride[0], view.stride[1], view.stride[2]}};
}

inline kernels::MutableVectors mutable_vectors(const core::TensorView& view) {
  return {view.data, static_cast<int32_t>(view.dtype), {view.stride[0], view.stride[1], view.stride[2]}};
}

template <class T>
kernels::Numbers<T> numbers(const core::TensorView& view) {
  return {reinterpret_cast<T*>(view.data), {view.stride[0], view.stride[1]}};
}

}  // namespace hashevict::cuda
