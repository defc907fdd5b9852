# SPDX-License-Identifier: Apache-2.0
include(GoogleTest)

# For the files of a test alone; the library under test keeps its flags. A test is compiled as often as it is run, and
# -O3 takes up to twice as long to compile.
set(hashevict_test_optimisation $<$<CONFIG:Release>:-O1>)

# All that the tests labelled "threads" need, so that a ThreadSanitizer build can stop there.
add_custom_target(hashevict_thread_tests)

# hashevict_add_test(<name> SOURCES <file>... [LIBRARIES <target>...] [DEFINITIONS <definition>...] [LABEL <label>]
#                    [TOGETHER])
#
# Adds a GoogleTest executable whose cases ctest runs one by one, under one label; the default is the name of the
# folder. Label `threads` marks cases that run library code on several threads; CI runs them under ThreadSanitizer.
# TOGETHER makes a single test of all cases, for those that share a costly set-up. Of <file>s, one may be the objects of
# hashevict_add_cases().
function(hashevict_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TOGETHER" "LABEL" "SOURCES;LIBRARIES;DEFINITIONS")
  if(NOT arg_LABEL)
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME arg_LABEL)
  endif()
  add_executable(${name} ${arg_SOURCES})
  hashevict_target_defaults(${name})
  target_compile_options(${name} PRIVATE ${hashevict_test_optimisation})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX)  # not to be seen from objects alone
  if(arg_LABEL STREQUAL "threads")
    add_dependencies(hashevict_thread_tests ${name})
  endif()
  if(arg_TOGETHER)
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT 1800)  # all cases, under sanitizers
  else()
    gtest_discover_tests(${name} DISCOVERY_TIMEOUT 120 PROPERTIES LABELS ${arg_LABEL} TIMEOUT 600)
  endif()
endfunction()

# hashevict_add_cases(<name> SOURCES <file>...)
#
# Compiles once the cases of a suite that is linked with several builds of the library: $<TARGET_OBJECTS:<name>>.
function(hashevict_add_cases name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES")
  add_library(${name} OBJECT ${arg_SOURCES})
  hashevict_target_defaults(${name})
  target_compile_options(${name} PRIVATE ${hashevict_test_optimisation})
  target_link_libraries(${name} PRIVATE hashevict_test_support GTest::gmock)
endfunction()
