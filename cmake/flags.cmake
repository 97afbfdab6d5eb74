# How all of the project is compiled: gramstep_flags, which its targets link privately.

add_library(gramstep_flags INTERFACE)
target_include_directories(gramstep_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_features(gramstep_flags INTERFACE cxx_std_20)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_CXX_EXTENSIONS OFF)

# The update's bits must not depend on the compiler's choice of fma. g++ vectorises square roots and
# selections only where they need set neither errno nor floating-point exceptions.
set(host_flags -ffp-contract=off -fno-math-errno -fno-trapping-math)
if(PROJECT_IS_TOP_LEVEL)
  list(APPEND host_flags -Wall -Wextra -Wshadow -Werror)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND host_flags -Wno-restrict)  # of libstdc++'s own string + string: GCC bug 105651
  endif()
endif()
target_compile_options(gramstep_flags INTERFACE
    $<$<COMPILE_LANGUAGE:C,CXX>:${host_flags}>)

if(GRAMSTEP_WITH_CUDA)
  # CMake 3.25 drops CUDA_STANDARD 20 silently.
  set(device_flags -std=c++20 --fmad=false -ftz=true)
  if(PROJECT_IS_TOP_LEVEL)
    list(APPEND device_flags -Werror=all-warnings -Xptxas=-warn-spills,-Werror)
  endif()
  list(JOIN host_flags "," nvcc_host_flags)
  target_compile_options(gramstep_flags INTERFACE
      $<$<COMPILE_LANGUAGE:CUDA>:${device_flags};-Xcompiler=${nvcc_host_flags}>)
endif()

set(sanitizer_flags)
if(GRAMSTEP_SANITIZE STREQUAL "address")
  set(sanitizer_flags
      -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
elseif(GRAMSTEP_SANITIZE STREQUAL "thread")
  set(sanitizer_flags -fsanitize=thread -fno-omit-frame-pointer)
elseif(GRAMSTEP_SANITIZE)
  message(FATAL_ERROR "GRAMSTEP_SANITIZE is ${GRAMSTEP_SANITIZE}: expected address, thread or nothing")
endif()
# For every target of the folder: a program that is only partly instrumented reports what is not.
foreach(flag IN LISTS sanitizer_flags)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:${flag}>)
  add_link_options(${flag})
endforeach()
