// Errors: one base class; every message says where, what, what was got and what was expected.
#pragma once

#include <stdexcept>
#include <string>

#include "gramstep/export.hpp"

namespace gramstep::inline v1 {

/// Base class of everything the library throws. Whatever throws leaves parameters, gradients, state
/// and step count as they were.
class GRAMSTEP_EXPORT Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An argument, an option or a combination of options is wrong; the message names it.
class GRAMSTEP_EXPORT InvalidArgument : public Error {
 public:
  using Error::Error;
};

/// An object cannot do this in the state it is in: it was moved from, or it belongs to another layout.
class GRAMSTEP_EXPORT InvalidState : public Error {
 public:
  using Error::Error;
};

/// The device that was asked for is not here: a build without CUDA, a machine without a GPU.
class GRAMSTEP_EXPORT DeviceUnavailable : public Error {
 public:
  using Error::Error;
};

/// Memory for state or workspace could not be had; nothing half-made is left behind.
class GRAMSTEP_EXPORT OutOfMemory : public Error {
 public:
  using Error::Error;
};

/// The CUDA runtime reported an error, perhaps of work that was queued earlier.
class GRAMSTEP_EXPORT CudaError : public Error {
 public:
  using Error::Error;
};

/// A gradient was not finite and the policy is NonFinite::error. The step was not taken.
class GRAMSTEP_EXPORT NonFiniteGradient : public Error {
 public:
  using Error::Error;
};

}  // namespace gramstep::inline v1
