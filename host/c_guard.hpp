// What the C ABI's functions are wrapped in: exceptions become a status code and a message.
#pragma once

#include <algorithm>
#include <new>
#include <string>
#include <vector>

#include "gramstep/gramstep.h"
#include "gramstep/gramstep.hpp"

namespace gramstep::host::c {

namespace gs = gramstep;

/// What the calling thread's last call complained of.
inline std::string& last_error() {
  thread_local std::string message;
  return message;
}

inline gramstep_status fail(gramstep_status status, const char* message) {
  try {
    last_error() = message;
  } catch (...) {
    last_error().clear();
  }
  return status;
}

/// Runs a call and turns what it throws into a status.
template <class Call>
gramstep_status guarded(const Call& call) {
  last_error().clear();
  try {
    call();
    return GRAMSTEP_OK;
  } catch (const gs::InvalidArgument& error) {
    return fail(GRAMSTEP_INVALID_ARGUMENT, error.what());
  } catch (const gs::InvalidState& error) {
    return fail(GRAMSTEP_INVALID_STATE, error.what());
  } catch (const gs::DeviceUnavailable& error) {
    return fail(GRAMSTEP_DEVICE_UNAVAILABLE, error.what());
  } catch (const gs::OutOfMemory& error) {
    return fail(GRAMSTEP_OUT_OF_MEMORY, error.what());
  } catch (const gs::CudaError& error) {
    return fail(GRAMSTEP_CUDA_ERROR, error.what());
  } catch (const gs::NonFiniteGradient& error) {
    return fail(GRAMSTEP_NON_FINITE_GRADIENT, error.what());
  } catch (const std::bad_alloc&) {
    return fail(GRAMSTEP_OUT_OF_MEMORY, "out of host memory");
  } catch (const std::exception& error) {
    return fail(GRAMSTEP_INTERNAL_ERROR, error.what());
  } catch (...) {
    return fail(GRAMSTEP_INTERNAL_ERROR, "unknown exception");
  }
}

template <class Value>
void put(Value* to, Value value) {
  if (to != nullptr) *to = value;
}

template <class To, class Value>
void put_all(To* to, const std::vector<Value>& values) {
  if (to != nullptr) std::copy(values.begin(), values.end(), to);
}

inline gs::Stream as_stream(void* stream) { return static_cast<gs::Stream>(stream); }

/// The end of both plan_state functions: the size it takes, and the values where they are wanted.
inline void put_state(const char* call, const std::vector<double>& state, double* values,
                      std::int64_t size, std::int64_t* needed) {
  put(needed, static_cast<std::int64_t>(state.size()));
  if (values == nullptr) return;
  if (size != std::ssize(state)) {
    throw InvalidArgument(std::string(call) + ": size: got " + std::to_string(size) +
                          ", expected " + std::to_string(state.size()));
  }
  put_all(values, state);
}

}  // namespace gramstep::host::c
