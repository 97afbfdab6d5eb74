# What `cmake --install` puts where, and how CMake projects and pkg-config find it again.

include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/gramstep)

# One export set a library: who links the shared one needs nothing but it.
foreach(kind shared static)
  install(TARGETS gramstep_${kind} EXPORT gramstep_${kind})
  install(EXPORT gramstep_${kind}
      FILE gramstep-${kind}-targets.cmake
      NAMESPACE gramstep::
      DESTINATION ${package_dir})
endforeach()
install(DIRECTORY include/gramstep TYPE INCLUDE)
install(FILES LICENSE TYPE DOC)

configure_package_config_file(cmake/gramstep-config.cmake.in gramstep-config.cmake
    INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(gramstep-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES
    ${PROJECT_BINARY_DIR}/gramstep-config.cmake
    ${PROJECT_BINARY_DIR}/gramstep-config-version.cmake
    DESTINATION ${package_dir})

# pkg-config's prefix is found from where its file lies, so that an installed tree may be moved.
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pkgconfig_to_prefix /prefix/${pkgconfig_dir} /prefix)
string(REGEX REPLACE "/$" "" pkgconfig_to_prefix "${pkgconfig_to_prefix}")
set(pkgconfig_private_libs "${OpenMP_CXX_FLAGS} -lstdc++ -lm -lpthread")
if(GRAMSTEP_WITH_CUDA)
  string(APPEND pkgconfig_private_libs " -lcudart_static -ldl -lrt")
endif()
configure_file(cmake/gramstep.pc.in gramstep.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/gramstep.pc DESTINATION ${pkgconfig_dir})
