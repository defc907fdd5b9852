# SPDX-License-Identifier: Apache-2.0
# Every option of the build. An enclosing project builds the library alone, and installs it only if it asks for that.

if(PROJECT_IS_TOP_LEVEL)
  option(BUILD_SHARED_LIBS "Build libhashevict as a shared library" OFF)
elseif(NOT DEFINED BUILD_SHARED_LIBS)
  set(BUILD_SHARED_LIBS OFF)  # no cache entry, which would also decide for the enclosing project
endif()
option(HASHEVICT_BUILD_TOOLS "Build the command hashevict and its engine" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_BUILD_TESTS "Build the tests (GoogleTest)" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_BUILD_BENCHMARKS "Build the benchmarks (Google Benchmark)" OFF)
option(HASHEVICT_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_INSTALL "Generate install rules" ${PROJECT_IS_TOP_LEVEL})
option(HASHEVICT_WARNINGS_AS_ERRORS "Treat compiler warnings as errors" OFF)
option(HASHEVICT_HIDDEN "Static library whose functions stay inside the shared object that links it" OFF)
option(HASHEVICT_KERNEL_CLOCKS "CUDA kernels measure their phases for hashevict_device_bench (docs/kernels.md)" OFF)
option(HASHEVICT_BUNDLE_HIGHWAY "Compile Highway's source into libhashevict, even where Highway is installed" OFF)
if(HASHEVICT_HIDDEN AND BUILD_SHARED_LIBS)
  message(FATAL_ERROR "HASHEVICT_HIDDEN is ON and so is BUILD_SHARED_LIBS: a shared libhashevict that exports nothing "
                      "is of no use. Turn one of them off.")
endif()

set(HASHEVICT_SANITIZE "" CACHE STRING "Sanitizers: empty, address (with undefined) or thread")
set_property(CACHE HASHEVICT_SANITIZE PROPERTY STRINGS "" address thread)
if(NOT HASHEVICT_SANITIZE MATCHES "^(address|thread)?$")
  message(FATAL_ERROR "HASHEVICT_SANITIZE is '${HASHEVICT_SANITIZE}'; it must be empty, 'address' or 'thread'")
endif()

set(HASHEVICT_CUDA AUTO CACHE STRING "CUDA backend: AUTO, ON or OFF")
set_property(CACHE HASHEVICT_CUDA PROPERTY STRINGS AUTO ON OFF)
set(HASHEVICT_CUDA_ARCHITECTURES "80-real;90" CACHE STRING
    "What kernels are compiled for, as in CMAKE_CUDA_ARCHITECTURES: any of 80, 86, 89, 90, 100, 120")

# Without a build type compilers do not optimise. As a project of its own, this one sets a build type. An enclosing
# project's build type is not ours to set: there the targets get the flags, unless that project chose an optimisation
# level by hand.
get_directory_property(hashevict_options_around COMPILE_OPTIONS)
set(hashevict_release_flags OFF)
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  if(PROJECT_IS_TOP_LEVEL)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  elseif(NOT "${CMAKE_CXX_FLAGS} ${hashevict_options_around}" MATCHES "(^|[ ;:>])-O")
    set(hashevict_release_flags ON)
    message(STATUS "hashevict: there is no CMAKE_BUILD_TYPE; the library is compiled with -O3 -DNDEBUG")
  endif()
endif()
if(PROJECT_IS_TOP_LEVEL)
  set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
  set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endif()
