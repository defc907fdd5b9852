// SPDX-License-Identifier: Apache-2.0
#pragma once

/// Marks functions that host code and CUDA kernels share. Without a CUDA compiler it is empty.
#ifndef HASHEVICT_HOST_DEVICE
#if defined(__CUDACC__)
#define HASHEVICT_HOST_DEVICE __host__ __device__
#else
#define HASHEVICT_HOST_DEVICE
#endif
#endif

/// Keeps a loop rolled in kernels, for the size of their code.
#if defined(__CUDA_ARCH__)
#define HASHEVICT_NO_UNROLL_ON_DEVICE _Pragma("unroll 1")
#else
#define HASHEVICT_NO_UNROLL_ON_DEVICE
#endif

/// Precedes a template for host and device that calls a function object. The caller decides whether that object may run
/// on both; nvcc must not warn about it.
#if defined(__CUDACC__)
#define HASHEVICT_EXEC_CHECK_DISABLE _Pragma("nv_exec_check_disable")
#else
#define HASHEVICT_EXEC_CHECK_DISABLE
#endif
