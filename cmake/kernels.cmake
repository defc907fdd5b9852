# SPDX-License-Identifier: Apache-2.0

# The launchers of all kernels, one file per operation. nvcc compiles them for the library, the host compiler for
# tests/simt.
set(hashevict_kernel_sources
    attend.cu
    attend_bulk.cu
    copy.cu
    decode.cu
    decode_cluster.cu
    encode.cu
    evict.cu
    prefill.cu
    prefill_attend.cu)
list(TRANSFORM hashevict_kernel_sources PREPEND ${PROJECT_SOURCE_DIR}/kernels/)

# The code that turns operations into launches: all of src/cuda but runtime.cpp, which calls the device. tests/simt
# replaces it.
set(hashevict_cuda_sources
    attend.cpp
    cuda_backend.cpp
    decode.cpp
    devices.cpp
    encode.cpp
    evict.cpp
    prefill.cpp
    sequences.cpp
    workspace.cpp)
list(TRANSFORM hashevict_cuda_sources PREPEND ${PROJECT_SOURCE_DIR}/src/cuda/)
