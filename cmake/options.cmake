# SPDX-License-Identifier: Apache-2.0
# Every option of the build. Inside another project the library alone is built, and installed only if that project asks.

option(BUILD_SHARED_LIBS "Build libhashevict as a shared library" OFF)
option(HASHEVICT_BUILD_TOOLS "Build the command hashevict, its engine and its evaluation" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_BUILD_TESTS "Build the tests (GoogleTest)" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_BUILD_BENCHMARKS "Build the benchmarks (Google Benchmark)" OFF)
option(HASHEVICT_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_INSTALL "Generate install rules" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)

set(HASHEVICT_SANITIZE "" CACHE STRING "Sanitizers: empty, address (with undefined) or thread")
set_property(CACHE HASHEVICT_SANITIZE PROPERTY STRINGS "" address thread)
if(NOT HASHEVICT_SANITIZE MATCHES "^(address|thread)?$")
  message(FATAL_ERROR "HASHEVICT_SANITIZE is '${HASHEVICT_SANITIZE}'; it must be empty, 'address' or 'thread'")
endif()

set(HASHEVICT_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set_property(CACHE HASHEVICT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(HASHEVICT_CUDA_ARCHITECTURES "80-real;90" CACHE STRING
    "What kernels are compiled for, as in CMAKE_CUDA_ARCHITECTURES: any of 80, 86, 89, 90, 100, 120")

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endif()
