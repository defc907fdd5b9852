// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks functions that host code and CUDA kernels share; nothing where no CUDA compiler reads the file.
#ifndef HASHEVICT_HOST_DEVICE
#if defined(__CUDACC__)
#define HASHEVICT_HOST_DEVICE __host__ __device__
#else
#define HASHEVICT_HOST_DEVICE
#endif
#endif
