# SPDX-License-Identifier: Apache-2.0
# Each dependency is looked for on the system first and fetched at a pinned tag where it is missing; the reasons for
# each stand in docs/dependencies.md. Versions after FIND_PACKAGE_ARGS are the oldest that the project is tested with.
include(FetchContent)

set(fetch_options GIT_SHALLOW TRUE)
if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.25)
  list(APPEND fetch_options SYSTEM)
endif()

# Let the plain variables below decide about options and cache entries of fetched projects, however old their policies.
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)

# hashevict_dependency(<name> <repository> <tag> <find_package arguments>...)
macro(hashevict_dependency name repository tag)
  FetchContent_Declare(
    ${name}
    GIT_REPOSITORY https://github.com/${repository}.git
    GIT_TAG ${tag} ${fetch_options}
    FIND_PACKAGE_ARGS ${ARGN})
  FetchContent_MakeAvailable(${name})
  list(APPEND hashevict_fetched ${name})
  if(${name}_FOUND)
    list(REMOVE_ITEM hashevict_fetched ${name})
  endif()
endmacro()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# Fetched, Highway becomes part of libhashevict (see src/CMakeLists.txt), hence static and not installed.
set(HWY_ENABLE_CONTRIB OFF)
set(HWY_ENABLE_EXAMPLES OFF)
set(HWY_ENABLE_INSTALL OFF)
set(HWY_ENABLE_TESTS OFF)
set(HWY_FORCE_STATIC_LIBS ON)
hashevict_dependency(hwy google/highway 1.2.0 1.0.3 CONFIG)
if(TARGET hwy AND NOT TARGET hwy::hwy)
  add_library(hwy::hwy ALIAS hwy)
endif()

# Messages; header-only and private, so that nobody who links libhashevict sees it.
hashevict_dependency(fmt fmtlib/fmt 10.2.1 9.1 CONFIG)

if(HASHEVICT_BUILD_TOOLS OR HASHEVICT_BUILD_TESTS OR HASHEVICT_BUILD_BENCHMARKS)
  set(JSON_BuildTests OFF)
  hashevict_dependency(nlohmann_json nlohmann/json v3.11.3 3.11 CONFIG)
endif()

if(HASHEVICT_BUILD_TOOLS)
  set(CLI11_BUILD_TESTS OFF)
  set(CLI11_BUILD_EXAMPLES OFF)
  set(CLI11_INSTALL OFF)
  hashevict_dependency(CLI11 CLIUtils/CLI11 v2.4.2 2.1 CONFIG)
endif()

if(HASHEVICT_BUILD_TESTS)
  set(INSTALL_GTEST OFF)
  hashevict_dependency(GTest google/googletest v1.14.0 1.12 CONFIG)
endif()

if(HASHEVICT_BUILD_BENCHMARKS)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  hashevict_dependency(benchmark google/benchmark v1.8.3 1.7 CONFIG)
endif()

unset(CMAKE_POLICY_DEFAULT_CMP0077)
unset(CMAKE_POLICY_DEFAULT_CMP0126)
