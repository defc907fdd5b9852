# SPDX-License-Identifier: Apache-2.0

# hashevict_target_defaults(<target>): what every target of this project is compiled with. Everything is private, so
# that a project which links the library inherits none of it.
function(hashevict_target_defaults target)
  set_target_properties(
    ${target}
    PROPERTIES CXX_STANDARD 20
               CXX_STANDARD_REQUIRED ON
               CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON
               POSITION_INDEPENDENT_CODE ON
               CUDA_STANDARD 20
               CUDA_STANDARD_REQUIRED ON
               CUDA_EXTENSIONS OFF
               CUDA_VISIBILITY_PRESET hidden)
  # A contracted a * b + c rounds once where the norm says twice: codes, and so victims, would depend on the compiler.
  target_compile_options(
    ${target} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wconversion;-ffp-contract=off>
                      $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wconversion>)
  # GCC 12 takes an addition of strings for copies that may overlap (GCC bug 105651).
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
  endif()
  if(HASHEVICT_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:C,CXX>:-Werror>
                                             $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
  endif()
  if(HASHEVICT_SANITIZE)
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
