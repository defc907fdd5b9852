# SPDX-License-Identifier: Apache-2.0
# Looks for each dependency on the system first and fetches it at a pinned tag if it is missing. docs/dependencies.md
# gives the reasons for each. VERSION is the oldest version that the project is tested with.
include(FetchContent)

set(fetch_options GIT_SHALLOW TRUE)
if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.25)
  list(APPEND fetch_options SYSTEM)
endif()

# Makes the plain variables below override options and cache entries of fetched projects, whatever their policies.
set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)

# Fetched projects would otherwise write this into the cache, where the enclosing project would see it.
if(NOT DEFINED BUILD_TESTING)
  set(BUILD_TESTING OFF)
endif()

set(hashevict_missing "")
set(hashevict_missing_packages "")
set(hashevict_missing_sources "")

# hashevict_can_fetch(<name> <repository> <result>): whether FetchContent can reach the source. FetchContent itself
# would end the configuration with a message that names no package.
function(hashevict_can_fetch name repository result)
  string(TOUPPER ${name} upper)
  string(TOLOWER ${name} lower)
  set(${result} TRUE PARENT_SCOPE)
  get_property(declared_around GLOBAL PROPERTY _FetchContent_${lower}_savedDetails DEFINED)
  if(FETCHCONTENT_SOURCE_DIR_${upper} OR declared_around OR EXISTS ${FETCHCONTENT_BASE_DIR}/${lower}-src/CMakeLists.txt)
    return()
  endif()
  find_package(Git QUIET)
  if(GIT_FOUND AND NOT FETCHCONTENT_FULLY_DISCONNECTED AND NOT hashevict_missing)
    execute_process(
      COMMAND ${CMAKE_COMMAND} -E env GIT_TERMINAL_PROMPT=0 ${GIT_EXECUTABLE} ls-remote --exit-code ${repository} HEAD
      TIMEOUT 30
      RESULT_VARIABLE failed
      OUTPUT_QUIET ERROR_QUIET)
    if(failed STREQUAL "0")
      return()
    endif()
  endif()
  set(${result} FALSE PARENT_SCOPE)
endfunction()

# hashevict_dependency(<name> TITLE <title> PACKAGE <Debian package> VERSION <version> TARGETS <target>...
#                      GITHUB <owner/name> TAG <tag>)
#
# Takes one of TARGETS if the enclosing project has it, or an installed package, or fetches the source. A dependency
# that is neither found nor fetched is recorded for hashevict_require_dependencies().
macro(hashevict_dependency name)
  cmake_parse_arguments(dependency "" "TITLE;PACKAGE;VERSION;GITHUB;TAG" "TARGETS" ${ARGN})
  set(dependency_at_hand FALSE)
  foreach(target IN LISTS dependency_TARGETS)
    if(TARGET ${target})
      set(dependency_at_hand TRUE)
    endif()
  endforeach()
  if(NOT dependency_at_hand)
    find_package(${name} ${dependency_VERSION} CONFIG QUIET)
    set(dependency_at_hand ${${name}_FOUND})
  endif()
  if(NOT dependency_at_hand)
    set(dependency_repository https://github.com/${dependency_GITHUB}.git)
    hashevict_can_fetch(${name} ${dependency_repository} dependency_fetchable)
    if(dependency_fetchable)
      FetchContent_Declare(
        ${name}
        GIT_REPOSITORY ${dependency_repository}
        GIT_TAG ${dependency_TAG} ${fetch_options})
      FetchContent_MakeAvailable(${name})
      list(APPEND hashevict_fetched ${name})
    else()
      string(TOUPPER ${name} upper)
      if(dependency_PACKAGE)
        string(APPEND hashevict_missing "  ${dependency_TITLE} ${dependency_VERSION} or later\n")
        string(APPEND hashevict_missing_packages " ${dependency_PACKAGE}")
      else()
        string(APPEND hashevict_missing "  the source of ${dependency_TITLE} ${dependency_VERSION} or later\n")
      endif()
      string(APPEND hashevict_missing_sources " FETCHCONTENT_SOURCE_DIR_${upper}")
    endif()
  endif()
endmacro()

# Ends the configuration if a dependency is missing, and names all that are.
function(hashevict_require_dependencies)
  if(NOT hashevict_missing)
    return()
  endif()
  set(advice "")
  if(hashevict_missing_packages)
    string(APPEND advice "Debian 12 and Ubuntu 24.04 have it:\n  apt-get install${hashevict_missing_packages}\n")
  endif()
  message(FATAL_ERROR "hashevict needs what is not installed here, and git cannot fetch it from github.com:\n"
                      "${hashevict_missing}${advice}"
                      "Otherwise install it by hand, give git access to the network, or name folders with the source:\n"
                      " ${hashevict_missing_sources}")
endfunction()

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# If fetched, Highway becomes part of libhashevict (see src/CMakeLists.txt), so it is static and not installed. A target
# `hwy` of the enclosing project may be anything, so its sources are inspected.
set(HWY_ENABLE_CONTRIB OFF)
set(HWY_ENABLE_EXAMPLES OFF)
set(HWY_ENABLE_INSTALL OFF)
set(HWY_ENABLE_TESTS OFF)
set(HWY_FORCE_STATIC_LIBS ON)
set(hwy_targets hwy::hwy)
set(hwy_package libhwy-dev)
if(HASHEVICT_BUNDLE_HIGHWAY)
  set(hwy_targets "")
  set(hwy_package "")
  set(CMAKE_DISABLE_FIND_PACKAGE_hwy ON)
endif()
set(hashevict_highway hwy::hwy)
if(TARGET hwy)
  get_target_property(hwy_sources hwy SOURCES)
  if(hwy_sources MATCHES "hwy/targets.cc")
    list(APPEND hwy_targets hwy)
    set(hashevict_highway hwy)
  endif()
endif()
hashevict_dependency(
  hwy
  TITLE Highway
  PACKAGE "${hwy_package}"
  VERSION 1.0.3
  TARGETS ${hwy_targets}
  GITHUB google/highway
  TAG 1.2.0)
unset(CMAKE_DISABLE_FIND_PACKAGE_hwy)
set(hashevict_highway_inside ${HASHEVICT_BUNDLE_HIGHWAY})
if("hwy" IN_LIST hashevict_fetched)
  set(hashevict_highway_inside ON)
  set(hashevict_highway hwy)
  target_compile_options(hwy PRIVATE -w)
  foreach(target hwy hwy_contrib hwy_test hwy_list_targets)  # the other targets are not needed here
    if(TARGET ${target})
      set_target_properties(${target} PROPERTIES EXCLUDE_FROM_ALL ON)
    endif()
  endforeach()
  if(PROJECT_IS_TOP_LEVEL AND NOT TARGET hwy::hwy)
    add_library(hwy::hwy ALIAS hwy)
  endif()
endif()

# Formats messages. Header-only and private, so that projects which link libhashevict do not see it.
hashevict_dependency(
  fmt
  TITLE fmt
  PACKAGE libfmt-dev
  VERSION 9.1
  TARGETS fmt::fmt-header-only
  GITHUB fmtlib/fmt
  TAG 10.2.1)

if(HASHEVICT_BUILD_TOOLS OR HASHEVICT_BUILD_TESTS OR HASHEVICT_BUILD_BENCHMARKS)
  set(JSON_BuildTests OFF)
  hashevict_dependency(
    nlohmann_json
    TITLE nlohmann-json
    PACKAGE nlohmann-json3-dev
    VERSION 3.11
    TARGETS nlohmann_json::nlohmann_json
    GITHUB nlohmann/json
    TAG v3.11.3)
endif()

if(HASHEVICT_BUILD_TOOLS)
  set(CLI11_BUILD_TESTS OFF)
  set(CLI11_BUILD_EXAMPLES OFF)
  set(CLI11_INSTALL OFF)
  hashevict_dependency(
    CLI11
    TITLE CLI11
    PACKAGE libcli11-dev
    VERSION 2.1
    TARGETS CLI11::CLI11
    GITHUB CLIUtils/CLI11
    TAG v2.4.2)
endif()

if(HASHEVICT_BUILD_TESTS)
  set(INSTALL_GTEST OFF)
  hashevict_dependency(
    GTest
    TITLE GoogleTest
    PACKAGE "libgtest-dev libgmock-dev"
    VERSION 1.12
    TARGETS GTest::gmock
    GITHUB google/googletest
    TAG v1.14.0)
endif()

if(HASHEVICT_BUILD_BENCHMARKS)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  hashevict_dependency(
    benchmark
    TITLE "Google Benchmark"
    PACKAGE libbenchmark-dev
    VERSION 1.7
    TARGETS benchmark::benchmark
    GITHUB google/benchmark
    TAG v1.8.3)
endif()

hashevict_require_dependencies()
unset(CMAKE_POLICY_DEFAULT_CMP0077)
unset(CMAKE_POLICY_DEFAULT_CMP0126)
