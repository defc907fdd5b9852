# SPDX-License-Identifier: Apache-2.0

# Decides whether to build the CUDA backend: sets hashevict_with_cuda, and hashevict_backends for the summary. AUTO
# builds it if there is a CUDA compiler. The library looks for a device at run time.
set(hashevict_with_cuda OFF)
set(hashevict_backends "cpu (no CUDA compiler)")
if(NOT HASHEVICT_CUDA)
  set(hashevict_backends "cpu (HASHEVICT_CUDA is OFF)")
else()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    find_program(HASHEVICT_NVCC nvcc HINTS /usr/local/cuda/bin "$ENV{CUDA_PATH}/bin" DOC "The CUDA compiler")
    mark_as_advanced(HASHEVICT_NVCC)
    if(HASHEVICT_NVCC)
      set(CMAKE_CUDA_COMPILER ${HASHEVICT_NVCC})
    endif()
  endif()
  # If an enclosing project enabled CUDA without choosing architectures, CMake chose the oldest that the compiler knows.
  set(older_around ${CMAKE_CUDA_ARCHITECTURES})
  list(FILTER older_around EXCLUDE REGEX "^(native|([89]|1[0-9])[0-9][af]?(-real|-virtual)?)$")
  if(NOT CMAKE_CUDA_ARCHITECTURES OR (older_around AND NOT PROJECT_IS_TOP_LEVEL))
    set(CMAKE_CUDA_ARCHITECTURES ${HASHEVICT_CUDA_ARCHITECTURES})
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26 does not know that nvcc supports it
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
    endif()
    if("${CMAKE_CUDA_FLAGS} ${CMAKE_CUDA_FLAGS_RELEASE} ${hashevict_options_around}"
       MATCHES "use_fast_math|ftz=true|prec-(div|sqrt)=false")
      message(FATAL_ERROR "CMAKE_CUDA_FLAGS or the options of the project around have ${CMAKE_MATCH_0}, with which the "
                          "CUDA backend would evict other tokens than the CPU. Give it to targets of your own, or "
                          "configure with HASHEVICT_CUDA=OFF.")
    endif()
    find_package(CUDAToolkit REQUIRED)
    set(hashevict_with_cuda ON)
    set(hashevict_backends "cpu, cuda (${CMAKE_CUDA_ARCHITECTURES})")
  elseif(NOT HASHEVICT_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "HASHEVICT_CUDA=${HASHEVICT_CUDA}, but no CUDA compiler was found: set CMAKE_CUDA_COMPILER, or "
                        "configure with HASHEVICT_CUDA=OFF to build the CPU backend alone.")
  endif()
endif()
