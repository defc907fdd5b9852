// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "device.hpp"
#include "workload.hpp"

namespace hashevict::bench {

/// FlashInfer's two kernels for one token per sequence. It prefers tensor cores for large groups.
enum class FlashInferPath { cuda_cores, tensor_cores };

/// Attends with a step's queries over the step's layer and writes its `out`.
using Attend = std::function<void(const DecodeArgs& step, cudaStream_t stream)>;

/// Plans FlashInfer's attention over the full layers of a workload. It reads the same keys and values in place, as
/// pages of 16 slots. Planning synchronises with the host; the returned function does not include it.
/// @param load on the device, head-major, of 16-bit elements, head size 128, a capacity that is a multiple of 16
/// @param buffers own the plan's memory on the device
/// @throws std::exception for another shape, and FlashInfer's own exceptions
[[nodiscard]] Attend plan_flash_infer(Workload& load, FlashInferPath path, DeviceBuffers& buffers, cudaStream_t stream);

/// The elements that a call writes to a dense tensor of 16-bit elements on the device; NaN for elements that it does
/// not write. Synchronises.
[[nodiscard]] std::vector<float> written_by(const std::function<void()>& call, const Tensor& out);

}  // namespace hashevict::bench
