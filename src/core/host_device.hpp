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

/// Before a template for host and device that calls what it is given: whether that may run on both is the caller's
/// affair, and nvcc is not to warn of it.
#if defined(__CUDACC__)
#define HASHEVICT_EXEC_CHECK_DISABLE _Pragma("nv_exec_check_disable")
#else
#define HASHEVICT_EXEC_CHECK_DISABLE
#endif
