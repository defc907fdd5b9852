// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Disables instruction sets whose vectors have no compile-time size, for files that keep vectors in arrays. Such a
/// file includes this header before any of Highway's. Processors with such vectors run the 128-bit code (NEON on Arm).
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE2_128 | HWY_SVE_256 | HWY_SVE2 | HWY_SVE | HWY_RVV)
#endif
