// SPDX-License-Identifier: Apache-2.0
#include <cuda/atomic>
#include "cuda/runtime.hpp"
