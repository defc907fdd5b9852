// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdint>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/validate.hpp"

namespace hashevict::core {
namespace {

/// Requires that no two elements of a written tensor share memory. From the smallest stride to the largest, each stride
/// must exceed the span of all smaller axes.
void require_nested(const hashevict_tensor& tensor, const char* name) {
  std::array<std::size_t, 3> order{0, 1, 2};  // axes beyond the rank are ignored
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return tensor.stride[a] != tensor.stride[b] ? tensor.stride[a] < tensor.stride[b] : a > b;
  });
  int64_t span = 1;
  for (const std::size_t axis : order) {
    if (axis >= static_cast<std::size_t>(tensor.rank) || tensor.shape[axis] <= 1) continue;
    require(tensor.stride[axis] >= span,
            "{}.stride[{}] = {}: expected at least {}, the span of the smaller strides, so that no two elements "
            "share memory",
            name, axis, tensor.stride[axis], span);
    span += tensor.stride[axis] * (tensor.shape[axis] - 1);
  }
}

}  // namespace

bool present(const hashevict_tensor& tensor) {
  if (tensor.data != nullptr) return true;
  const auto rank = static_cast<std::size_t>(std::clamp(tensor.rank, 0, HASHEVICT_MAX_RANK));
  return std::find(tensor.shape, tensor.shape + rank, 0) != tensor.shape + rank;
}

TensorView validate_tensor(const hashevict_tensor& tensor, const TensorSpec& spec) {
  if (spec.any_float) {
    require_one_of({spec.name, "dtype"}, tensor.dtype, kFloatDtypes);
  } else {
    require_equal({spec.name, "dtype"}, tensor.dtype, static_cast<int32_t>(spec.dtype));
  }
  const auto rank = static_cast<int32_t>(std::find(spec.shape.begin(), spec.shape.end(), kNoDim) - spec.shape.begin());
  require_equal({spec.name, "rank"}, tensor.rank, rank);
  TensorView view{static_cast<unsigned char*>(tensor.data), static_cast<DType>(tensor.dtype), {}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(rank); ++i) {
    const auto axis = static_cast<int64_t>(i);
    require_equal({spec.name, "shape", axis}, tensor.shape[i], spec.shape[i]);
    require_in_range({spec.name, "stride", axis}, tensor.stride[i], 0, max_stride(tensor.shape[i]));
    view.stride[i] = tensor.stride[i];
  }
  if (spec.written) require_nested(tensor, spec.name);
  require(reinterpret_cast<uintptr_t>(tensor.data) % static_cast<uintptr_t>(size_of(view.dtype)) == 0,
          "{}.data = {}: expected a multiple of the element size {}", spec.name, tensor.data, size_of(view.dtype));
  return view;
}

}  // namespace hashevict::core
