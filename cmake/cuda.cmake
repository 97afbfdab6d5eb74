# Decides whether the CUDA backend is built, and enables the language.

set(GRAMSTEP_WITH_CUDA FALSE)
if(NOT GRAMSTEP_CUDA STREQUAL "OFF")
  # Looks in the usual places, where CMake's search for a compiler looks in the PATH alone.
  find_package(CUDAToolkit 12.8 QUIET)  # cudaStreamGetDevice
  if(CUDAToolkit_FOUND AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  if(CUDAToolkit_FOUND)
    set(GRAMSTEP_WITH_CUDA TRUE)
  elseif(NOT GRAMSTEP_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "GRAMSTEP_CUDA is ${GRAMSTEP_CUDA}: expected a CUDA toolkit of version 12.8 "
                        "or later in CUDAToolkit_ROOT, the PATH or /usr/local/cuda, found none")
  endif()
endif()

if(GRAMSTEP_WITH_CUDA)
  set(CMAKE_CUDA_ARCHITECTURES ${GRAMSTEP_CUDA_ARCHITECTURES})
  enable_language(CUDA)
  message(STATUS "gramstep: CUDA ${CUDAToolkit_VERSION} for ${CMAKE_CUDA_ARCHITECTURES}")
else()
  message(STATUS "gramstep: without CUDA (GRAMSTEP_CUDA is ${GRAMSTEP_CUDA})")
endif()
