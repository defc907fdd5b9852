// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "device.hpp"
#include "workload.hpp"

namespace hashevict::bench {

/// FlashInfer's two ways of attention for one token a sequence. It prefers tensor cores for large groups.
enum class FlashInferPath { cuda_cores, tensor_cores };

/// Attention of a step's queries into its `out`.
using Attend = std::function<void(const Step& step, cudaStream_t stream)>;

/// Plans FlashInfer's attention over the full cache of a workload: the same keys and values where they lie, its pages
/// being 16 slots each. Planning synchronises with the host and is not part of what is returned.
/// @param load on the device, head-major, of 16-bit elements, head size 128, a capacity that is a multiple of 16
/// @param buffers keep what the plan needs on the device
/// @throws std::exception for another shape, and what FlashInfer throws
[[nodiscard]] Attend plan_flash_infer(Workload& load, FlashInferPath path, DeviceBuffers& buffers, cudaStream_t stream);

/// What a call writes to a dense tensor of 16-bit elements on the device, NaN where it writes nothing. Synchronises.
[[nodiscard]] std::vector<float> written_by(const std::function<void()>& call, const Tensor& out);

}  // namespace hashevict::bench
