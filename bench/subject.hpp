// Subject: what is measured, as a case of the grid.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "gramstep/gramstep.hpp"
#include "host/backend.hpp"

namespace gramstep::bench {

/// A benchmark's place in the grid.
struct Case {
  std::string rule = "AdamW";  // or SGD, momentum, Adam
  int tasks = 1;
  std::int64_t size = 0;  // elements of all segments together
  int segments = 1;       // of equal size

  /// subject/K:../N:.. and, where there are several, /segments:..
  std::string name(const std::string& subject) const;
  Layout layout() const;
  /// Of a whole step: PCGrad for several tasks; a clip that leaves the values as they are.
  OptimizerOptions options(Device device) const;
};

/// The gram and update stages of a case, to be run alone, on memory that is given.
class Stages {
 public:
  /// Runs gram and plan once, so that the update knows what to do. rows: [K] pointers.
  Stages(const Case& which, Device device, float* params, const float* const* rows,
         Stream stream = nullptr);

  void gram() { backend_->gram(memory_, stream_); }
  void update() { backend_->update(memory_, stream_); }

  /// Parameters, then state: what the update reads and writes.
  const std::vector<float*>& in_place() const { return in_place_; }

 private:
  host::Setup setup_;
  std::unique_ptr<host::Backend> backend_;
  host::StepMemory memory_;
  Stream stream_;
  std::vector<float*> in_place_;
};

}  // namespace gramstep::bench
