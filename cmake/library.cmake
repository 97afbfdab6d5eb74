# The library: one set of position-independent objects, linked as a shared and as a static library.

find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(Eigen3 REQUIRED NO_MODULE)  # headers, of which nothing shows outside

function(gramstep_add_objects target)
  add_library(${target} OBJECT ${ARGN})
  target_link_libraries(${target} PRIVATE gramstep_flags)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  set_target_properties(${target} PROPERTIES
      POSITION_INDEPENDENT_CODE ON
      CXX_VISIBILITY_PRESET hidden
      CUDA_VISIBILITY_PRESET hidden
      VISIBILITY_INLINES_HIDDEN ON)
  set_property(GLOBAL APPEND PROPERTY GRAMSTEP_OBJECTS $<TARGET_OBJECTS:${target}>)
endfunction()

gramstep_add_objects(gramstep_host
    host/aggregation.cpp
    host/c_aggregation.cpp
    host/c_api.cpp
    host/c_options.cpp
    host/c_settings.cpp
    host/c_step.cpp
    host/cpu_backend.cpp
    host/layout.cpp
    host/memory_checks.cpp
    host/optimizer.cpp
    host/optimizer_state.cpp
    host/places.cpp
    host/plan_state.cpp
    host/report.cpp
    host/saved_run.cpp
    host/setup.cpp
    host/text.cpp
    host/validation.cpp
    host/work_table.cpp
    host/cpu/dispatch.cpp
    host/cpu/orthogonalizer.cpp)
target_link_libraries(gramstep_host PRIVATE OpenMP::OpenMP_CXX)

# The loops over memory, once for every instruction set: dispatch.cpp picks one at run time. The gram
# stage's products are added by fma, see host/cpu/fused.hpp.
set_source_files_properties(host/cpu/gram_leaves.cpp PROPERTIES COMPILE_OPTIONS -ffp-contract=fast)
# Compilers' own headers of AVX-512 leave a register undefined on purpose, which g++ warns of where Eigen
# uses them.
set_source_files_properties(host/cpu/product_leaves.cpp PROPERTIES
    COMPILE_OPTIONS $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
# g++ would make `rep stos` of loops that clear sums, a few KiB at a time: a fifth of a pass
# that measures what is in cache.
function(gramstep_add_leaves isa)
  gramstep_add_objects(gramstep_leaves_${isa}
      host/cpu/gram_leaves.cpp host/cpu/leaves.cpp host/cpu/plan_leaves.cpp
      host/cpu/product_leaves.cpp)
  target_link_libraries(gramstep_leaves_${isa} PRIVATE $<BUILD_INTERFACE:Eigen3::Eigen>)
  target_compile_definitions(gramstep_leaves_${isa} PRIVATE GRAMSTEP_ISA=${isa})
  target_compile_options(gramstep_leaves_${isa} PRIVATE -O3 -fopenmp-simd ${ARGN}
      $<$<CXX_COMPILER_ID:GNU>:-fno-tree-loop-distribute-patterns>)
  set(GRAMSTEP_ISAS ${GRAMSTEP_ISAS} ${isa} PARENT_SCOPE)
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT GRAMSTEP_GENERIC)
  target_compile_definitions(gramstep_host PRIVATE GRAMSTEP_X86_DISPATCH=1)
  gramstep_add_leaves(x86_64_v2 -march=x86-64-v2)
  gramstep_add_leaves(x86_64_v3 -march=x86-64-v3)
  gramstep_add_leaves(x86_64_v4 -march=x86-64-v4 -mprefer-vector-width=512)
else()
  gramstep_add_leaves(generic)
endif()

if(GRAMSTEP_WITH_CUDA)
  gramstep_add_objects(gramstep_kernels
      kernels/alone.cu
      kernels/cublas.cu
      kernels/cuda_backend.cu
      kernels/gram.cu
      kernels/orthogonalizer.cu
      kernels/plan.cu
      kernels/update.cu)
else()
  gramstep_add_objects(gramstep_kernels host/cuda_absent.cpp)
endif()

get_property(objects GLOBAL PROPERTY GRAMSTEP_OBJECTS)
foreach(kind shared static)
  string(TOUPPER ${kind} KIND)
  add_library(gramstep_${kind} ${KIND} ${objects})
  add_library(gramstep::${kind} ALIAS gramstep_${kind})
  target_compile_features(gramstep_${kind} PUBLIC cxx_std_20)
  target_include_directories(gramstep_${kind} INTERFACE
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(gramstep_${kind} PRIVATE
      OpenMP::OpenMP_CXX
      $<$<BOOL:${GRAMSTEP_WITH_CUDA}>:CUDA::cudart_static>)
  set_target_properties(gramstep_${kind} PROPERTIES
      EXPORT_NAME ${kind}
      LINKER_LANGUAGE CXX
      OUTPUT_NAME gramstep)
endforeach()

set_target_properties(gramstep_shared PROPERTIES
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/gramstep.map)
# Neither the CUDA runtime's names nor those of standard templates are this library's to export.
target_link_options(gramstep_shared PRIVATE
    LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/gramstep.map
    $<$<NOT:$<BOOL:${GRAMSTEP_SANITIZE}>>:LINKER:--no-undefined>)

# What users link: the shared library unless BUILD_SHARED_LIBS says otherwise.
if(DEFINED BUILD_SHARED_LIBS AND NOT BUILD_SHARED_LIBS)
  add_library(gramstep::gramstep ALIAS gramstep_static)
else()
  add_library(gramstep::gramstep ALIAS gramstep_shared)
endif()
