// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Include before any Highway header in a file that keeps vectors in arrays: instruction sets whose vectors have no
/// compile-time size cannot do that. Processors that have them run the 128-bit code instead (NEON on Arm).
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SVE2_128 | HWY_SVE_256 | HWY_SVE2 | HWY_SVE | HWY_RVV)
#endif
