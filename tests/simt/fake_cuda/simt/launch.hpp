// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Replaces tests/simt/launch.hpp: launches as on a device, through the fake runtime.
#include "kernels/detail/launch_device.cuh"
