# SPDX-License-Identifier: Apache-2.0
# Headers, library, package config, pkg-config file, the command and its assets. No installed file contains its prefix.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hashevict)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS hashevict_library EXPORT hashevict-targets)
install(DIRECTORY include/hashevict DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(
  EXPORT hashevict-targets
  NAMESPACE hashevict::
  DESTINATION ${package_dir})

set(HASHEVICT_CXX_RUNTIME ${hashevict_cxx_runtime})
set(HASHEVICT_CONFIG_STATIC TRUE)
if(BUILD_SHARED_LIBS)
  set(HASHEVICT_CONFIG_STATIC FALSE)
endif()
set(HASHEVICT_CONFIG_SYSTEM_HWY TRUE)
if(hashevict_highway_inside)
  set(HASHEVICT_CONFIG_SYSTEM_HWY FALSE)
endif()
set(HASHEVICT_CONFIG_CUDA FALSE)
if(hashevict_with_cuda)
  set(HASHEVICT_CONFIG_CUDA TRUE)
endif()
configure_package_config_file(cmake/hashevict-config.cmake.in hashevict-config.cmake INSTALL_DESTINATION ${package_dir})
set(compatibility SameMajorVersion)
if(PROJECT_VERSION_MAJOR EQUAL 0)
  set(compatibility SameMinorVersion)  # as in the name of the shared library, see src/CMakeLists.txt
endif()
write_basic_package_version_file(hashevict-config-version.cmake COMPATIBILITY ${compatibility})
install(FILES ${PROJECT_BINARY_DIR}/hashevict-config.cmake ${PROJECT_BINARY_DIR}/hashevict-config-version.cmake
        DESTINATION ${package_dir})

# If only the static library is installed, every link needs the private parts, with or without --static.
list(TRANSFORM HASHEVICT_CXX_RUNTIME PREPEND " -l" OUTPUT_VARIABLE private_libs)
list(JOIN private_libs "" private_libs)
string(APPEND private_libs " -pthread")
if(hashevict_with_cuda)
  string(APPEND private_libs " -L${CUDAToolkit_LIBRARY_DIR} -lcudart_static -ldl -lrt")
endif()
set(HASHEVICT_PC_CFLAGS "")
if(HASHEVICT_HIDDEN)
  set(HASHEVICT_PC_CFLAGS " -DHASHEVICT_HIDDEN")
endif()
set(private_requires "")
if(HASHEVICT_CONFIG_SYSTEM_HWY)
  set(private_requires " libhwy")
endif()
if(HASHEVICT_CONFIG_STATIC)
  set(HASHEVICT_PC_REQUIRES "${private_requires}")
  set(HASHEVICT_PC_LIBS "${private_libs}")
else()
  set(HASHEVICT_PC_REQUIRES_PRIVATE "${private_requires}")
  set(HASHEVICT_PC_LIBS_PRIVATE "${private_libs}")
endif()
file(RELATIVE_PATH HASHEVICT_PC_PREFIX /prefix/${pkgconfig_dir} /prefix)
string(REGEX REPLACE "/$" "" HASHEVICT_PC_PREFIX "${HASHEVICT_PC_PREFIX}")
configure_file(cmake/hashevict.pc.in hashevict.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hashevict.pc DESTINATION ${pkgconfig_dir})

if(TARGET hashevict_cli)
  file(RELATIVE_PATH library_from_command /prefix/${CMAKE_INSTALL_BINDIR} /prefix/${CMAKE_INSTALL_LIBDIR})
  set_target_properties(hashevict_cli PROPERTIES INSTALL_RPATH "$ORIGIN/${library_from_command}")
  install(TARGETS hashevict_cli)
  install(DIRECTORY assets/ DESTINATION ${CMAKE_INSTALL_DATADIR}/hashevict)
endif()
