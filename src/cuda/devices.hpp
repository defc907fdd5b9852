// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// The devices that can run the kernels of this build.
namespace hashevict::cuda {

/// Whether kernels compiled for `architectures` run on a device of `capability` (86 means 8.6). `architectures` is in
/// the words of CMAKE_CUDA_ARCHITECTURES, with commas: `80-real,90`. Machine code runs on later minor versions of its
/// major version, PTX on all later ones. Code for a family (`100f`) runs on that family alone, code for one
/// architecture (`90a`) on that architecture alone.
bool runs_on(std::string_view architectures, int32_t capability);

/// The number of devices that can run this build's kernels.
int32_t num_usable_devices();

/// Why `device` cannot be used, for the end of a message; empty if it can. For kAnyDevice: why no device can. An
/// ordinal without a device is treated as kAnyDevice; creating a cache then reports the valid ordinals.
std::string refusal(int32_t device);

}  // namespace hashevict::cuda
