// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/simt.cuh"

/// Primitives of devices from sm_90 on: clusters of blocks, mbarriers and bulk copies. Kernels for older devices are
/// compiled without them, and kHasClusters is false there.
#if defined(__CUDACC__)
#include "kernels/detail/cluster_device.cuh"
#else
#include <simt/cluster.hpp>
#endif
