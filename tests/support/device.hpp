// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

/// The memory of Backend::cuda. Three files implement it: device_none.cpp without such a backend, device_cuda.cpp with
/// the CUDA runtime, tests/simt/device.cpp where kernels run on the host.
namespace hashevict::test::device {

/// The backend's name in reports; empty if it cannot be used.
std::string name();

/// Aligned to HASHEVICT_ALIGNMENT.
std::byte* allocate(std::size_t bytes);
void release(std::byte* memory) noexcept;
void upload(const void* host, void* target, std::size_t bytes);
void download(const void* source, void* host, std::size_t bytes);

}  // namespace hashevict::test::device
