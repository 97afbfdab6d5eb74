// What the C ABI's sources share: checks of arguments, and the two option structs' translation.
#pragma once

#include <cstddef>
#include <string>

#include "gramstep/gramstep.hpp"
#include "gramstep/gramstep_aggregation.h"

namespace gramstep::host {

inline void expect_there(const void* pointer, const char* what) {
  if (pointer == nullptr) {
    throw InvalidArgument(std::string(what) + ": got null, expected a pointer");
  }
}

/// Throws unless a struct that the caller handed in is the one that this library knows.
template <class Struct>
void expect_struct(const Struct* given, const char* name) {
  if (given->struct_size == sizeof(Struct)) return;
  throw InvalidArgument(std::string(name) + ".struct_size: got " +
                        std::to_string(given->struct_size) + ", expected " +
                        std::to_string(sizeof(Struct)));
}

inline std::size_t extent(std::int64_t size, const char* what) {
  if (size < 0) {
    throw InvalidArgument(std::string(what) + ": got " + std::to_string(size) + ", expected >= 0");
  }
  return static_cast<std::size_t>(size);
}

/// C++ options from C's. Throws InvalidArgument for a struct of another size or an unknown value.
OptimizerOptions options_of(const gramstep_options& from);
AggregationOptions options_of(const gramstep_aggregation_options& from);

/// A type of numbers. Throws InvalidArgument for another value; `what` names it.
DType dtype_of_c(const char* what, std::int32_t value,
                 const char* expected = "GRAMSTEP_FLOAT32, GRAMSTEP_BFLOAT16 or GRAMSTEP_FLOAT16");

/// The schedule of a text, or a constant learning rate for null.
Schedule schedule_or_constant(const char* text);

/// The defaults, for one task on the CPU.
gramstep_options default_options();

}  // namespace gramstep::host
