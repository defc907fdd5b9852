# SPDX-License-Identifier: Apache-2.0

# The launchers of all kernels: one file an operation, compiled by nvcc for the library and by the host compiler for
# tests/simt.
set(hashevict_kernel_sources
    attend.cu
    copy.cu
    decode.cu
    encode.cu
    evict.cu
    prefill.cu)
list(TRANSFORM hashevict_kernel_sources PREPEND ${PROJECT_SOURCE_DIR}/kernels/)

# What turns operations into launches: all of src/cuda but runtime.cpp, which speaks to the device and which tests/simt
# replaces.
set(hashevict_cuda_sources
    attend.cpp
    cuda_backend.cpp
    decode.cpp
    encode.cpp
    evict.cpp
    params.cpp
    prefill.cpp
    sequences.cpp
    workspace.cpp)
list(TRANSFORM hashevict_cuda_sources PREPEND ${PROJECT_SOURCE_DIR}/src/cuda/)
