# SPDX-License-Identifier: Apache-2.0

# The flags that results and the C ABI depend on, whatever flags a user or an enclosing project sets. They come last on
# the command line. Each is one SHELL: group, since CMake drops a single option that repeats an earlier one.
# A contracted a * b + c rounds once where the specification rounds twice, and fast mathematics sums in any order. With
# either, codes, and so victims, would depend on the compiler.
string(CONCAT hashevict_exact_arithmetic
  "SHELL:-fno-fast-math -fno-unsafe-math-optimizations -fno-associative-math -fno-reciprocal-math "
  "-fno-finite-math-only -fsigned-zeros -fno-rounding-math -ffp-contract=off")
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  string(APPEND hashevict_exact_arithmetic " -fno-single-precision-constant -fno-allow-store-data-races")
endif()
# Errors travel as exceptions up to the C ABI, which catches all of them.
set(hashevict_whole_language "SHELL:-fexceptions -frtti -fthreadsafe-statics -fvisibility=hidden")

# The name of the compiler's own C++ runtime, for projects that link without a C++ compiler.
set(hashevict_cxx_runtime stdc++ m)
if("c++" IN_LIST CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
  set(hashevict_cxx_runtime c++ m)
endif()

# A definition by which vector code is compiled for two of x86's instruction sets instead of five.
set(hashevict_few_instruction_sets
    "HWY_DISABLED_TARGETS=(HWY_SSSE3|HWY_SSE4|HWY_AVX3|HWY_AVX3_DL|HWY_SVE2_128|HWY_SVE_256|HWY_SVE2|HWY_SVE|HWY_RVV)")

# Warnings concern developers of this project. An enclosing project's warnings and checkers do not apply to it.
function(hashevict_target_warnings target)
  if(NOT PROJECT_IS_TOP_LEVEL)
    target_compile_options(${target} PRIVATE -w)
    set_target_properties(
      ${target}
      PROPERTIES COMPILE_WARNING_AS_ERROR OFF
                 CXX_CLANG_TIDY ""
                 CXX_CPPCHECK ""
                 CXX_CPPLINT ""
                 CXX_INCLUDE_WHAT_YOU_USE "")
    return()
  endif()
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wconversion>
                      $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wconversion>)
  # GCC 12 mistakes an addition of strings for copies that may overlap (GCC bug 105651).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  endif()
  if(HASHEVICT_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>
                                             $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
endfunction()

# hashevict_target_defaults(<target>): sets the compile options of every target of this project. All are private, so a
# project that links the library inherits none of them.
function(hashevict_target_defaults target)
  set_target_properties(
    ${target}
    PROPERTIES CXX_STANDARD 20
               CXX_STANDARD_REQUIRED ON
               CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               POSITION_INDEPENDENT_CODE ON
               UNITY_BUILD OFF
               CUDA_STANDARD 20
               CUDA_STANDARD_REQUIRED ON
               CUDA_EXTENSIONS OFF
               CUDA_VISIBILITY_PRESET hidden)
  hashevict_target_warnings(${target})
  if(hashevict_release_flags)
    target_compile_options(${target} PRIVATE "SHELL:-O3 -DNDEBUG")
  endif()
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CXX>:${hashevict_whole_language}>"
                                           "$<$<COMPILE_LANGUAGE:C,CXX>:${hashevict_exact_arithmetic}>")
  # If the last -O is fast, or fast mathematics is on, GCC links code that flushes denormal numbers in the whole
  # process.
  target_link_options(${target} PRIVATE "SHELL:-O2 -fno-fast-math -fno-unsafe-math-optimizations")
  if(HASHEVICT_HIDDEN)
    target_compile_definitions(${target} PRIVATE HASHEVICT_HIDDEN)
  endif()
  if(HASHEVICT_SANITIZE)
    # For the few tests that a sanitizer's allocator or its use of memory changes: compilers name themselves differently.
    string(TOUPPER ${HASHEVICT_SANITIZE} name)
    target_compile_definitions(${target} PRIVATE HASHEVICT_SANITIZE_${name})
    # Under a sanitizer all instruction sets take half an hour to compile.
    target_compile_definitions(${target} PRIVATE ${hashevict_few_instruction_sets})
    set(sanitizers ${HASHEVICT_SANITIZE})
    if(sanitizers STREQUAL "address")
      set(sanitizers address,undefined)
    endif()
    target_compile_options(
      ${target}
      PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${sanitizers};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=${sanitizers})
  endif()
endfunction()
