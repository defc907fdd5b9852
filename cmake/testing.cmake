# SPDX-License-Identifier: Apache-2.0
include(GoogleTest)

# Everything that a run of the tests labelled "threads" needs, so that a ThreadSanitizer build can stop there.
add_custom_target(hashevict_thread_tests)

# hashevict_add_test(<name> SOURCES <file>... [LIBRARIES <target>...] [DEFINITIONS <definition>...] [LABEL <label>]
#                    [TOGETHER])
#
# A GoogleTest executable whose cases ctest knows one by one, under one label; without LABEL that is the name of the
# folder. Label `threads` marks cases that run library code on several threads: CI runs them under ThreadSanitizer.
# TOGETHER makes one test of them all, for cases that share a costly set-up.
function(hashevict_add_test name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "TOGETHER" "LABEL" "SOURCES;LIBRARIES;DEFINITIONS")
  if(NOT arg_LABEL)
    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME arg_LABEL)
  endif()
  add_executable(${name} ${arg_SOURCES})
  hashevict_target_defaults(${name})
  target_link_libraries(${name} PRIVATE ${arg_LIBRARIES} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE ${arg_DEFINITIONS})
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
