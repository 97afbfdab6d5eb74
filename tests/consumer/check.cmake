# Installs the library, moves what was installed, and uses it from there as users do:
#   cmake -DBUILD=<gramstep's build> -DWORK=<scratch> -DGENERATOR=... -DC=... -DCXX=... -P check.cmake

set(prefix ${WORK}/moved)

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE ${WORK})
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed)
file(RENAME ${WORK}/installed ${prefix})

# find_package, shared and static.
foreach(static OFF ON)
  set(project ${WORK}/static-${static})
  run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${project} -G ${GENERATOR}
      -DCMAKE_C_COMPILER=${C} -DCMAKE_CXX_COMPILER=${CXX}
      -DCMAKE_PREFIX_PATH=${prefix} -DCONSUMER_STATIC=${static})
  run(${CMAKE_COMMAND} --build ${project})
  run(${project}/example)
  run(${project}/version)
endforeach()

# pkg-config.
file(GLOB_RECURSE package ${prefix}/gramstep.pc)
cmake_path(GET package PARENT_PATH package_dir)
cmake_path(GET package_dir PARENT_PATH library_dir)
set(ENV{PKG_CONFIG_PATH} ${package_dir})
set(ENV{LD_LIBRARY_PATH} ${library_dir})
execute_process(COMMAND pkg-config --cflags --libs gramstep
    OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
separate_arguments(flags UNIX_COMMAND "${flags}")
run(${CXX} -std=c++20 ${WORK}/static-OFF/example.cpp ${flags} -o ${WORK}/example)
run(${WORK}/example)
