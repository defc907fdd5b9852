// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Memory that the CUDA runtime moves between host and device. A build with CUDA compiles managed_memory_cuda.cpp, one
/// without managed_memory_none.cpp. Each function throws Error: unsupported in a build without CUDA, out_of_memory, or
/// backend_error with the runtime's message.
namespace hashevict::cli::managed_memory {

/// Makes a device current for the calling thread.
void use_device(int32_t device);

/// Allocates memory, aligned to HASHEVICT_ALIGNMENT.
std::byte* allocate(uint64_t bytes);
void release(std::byte* memory) noexcept;

/// Waits for all work of the current device.
void synchronize();

/// Returns the size of the device's memory, free or not.
uint64_t device_bytes(int32_t device);

}  // namespace hashevict::cli::managed_memory
