// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// Memory that moves between host and CUDA device on its own, as this build has it: managed_memory_cuda.cpp with the
/// CUDA runtime, managed_memory_none.cpp without. Each throws Error: unsupported where the build has none,
/// out_of_memory, or backend_error with the runtime's own words.
namespace hashevict::eval::managed_memory {

/// Makes a device the one that the calling thread allocates for and waits for.
void use_device(int32_t device);

/// Aligned to HASHEVICT_ALIGNMENT.
std::byte* allocate(uint64_t bytes);
void release(std::byte* memory) noexcept;

/// Waits for all that the current device was given.
void synchronize();

/// The device's own memory, free or not.
uint64_t device_bytes(int32_t device);

}  // namespace hashevict::eval::managed_memory
