# What the linker may see of the library:
#   cmake -DNM=... -DLIBRARY=<libgramstep.so> "-DLEAVES=<objects>" -P symbols.cmake
#
# - The shared library exports its own names alone.
# - Objects compiled for one instruction set define no weak name: the linker keeps one definition of
#   such a name for the whole program, which on a lesser machine would be an illegal instruction. But for
#   names that say which set they are for, and the exceptions' routine, which is no instruction.

function(expect_no_symbols what pattern)
  execute_process(COMMAND ${NM} ${ARGN}
      OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[^\n]*${pattern}[^\n]*" found "${symbols}")
  list(FILTER found EXCLUDE REGEX "Eigen_(x86_64_v[234]|generic)|DW[.]ref[.]__gxx_personality_v0")
  if(found)
    list(JOIN found "\n  " found)
    message(FATAL_ERROR "${what}: expected none, got\n  ${found}")
  endif()
endfunction()

foreach(object IN LISTS LEAVES)
  expect_no_symbols("weak symbols of ${object}" " [WVu] " --defined-only ${object})
endforeach()

execute_process(COMMAND ${NM} -D --defined-only --format=just-symbols ${LIBRARY}
    OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
if(NOT symbols MATCHES "gramstep_version\n")
  message(FATAL_ERROR "${LIBRARY}: expected it to export gramstep_version, got\n${symbols}")
endif()
string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
list(FILTER symbols EXCLUDE REGEX "^(gramstep_|_ZNK?8gramstep2v1|_ZT.N8gramstep2v1)")
if(symbols)
  list(JOIN symbols "\n  " symbols)
  message(FATAL_ERROR "${LIBRARY} exports names that are not its own:\n  ${symbols}")
endif()
