// Subject: what is measured, an optimizer with its memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bench/memory.hpp"
#include "gramstep/gramstep.hpp"
#include "host/backend.hpp"

namespace gramstep::bench {

/// A benchmark's place in the grid.
struct Case {
  std::string rule = "AdamW";
  int tasks = 1;
  std::int64_t size = 0;
  int segments = 1;

  /// subject/rule/K:../N:.. and, where there are several, /segments:..
  std::string name(const std::string& subject) const;
};

/// `size` elements in that many segments of equal size.
Layout make_layout(std::int64_t size, int segments);

/// The rule of that name: SGD, momentum, Adam, AdamW. 
Rule make_rule(const std::string& name);

/// Options of a whole step: PCGrad for several tasks, a clip that leaves the values as they are.
OptimizerOptions make_options(const Case& which, Device device);

/// The stages of a step, to be run alone, on the rows that are given and parameters of its own.
class Stages {
 public:
  Stages(const Case& which, const Rows& rows, Device device = cpu());

  void gram() { backend_->gram(memory_, nullptr); }
  void update() { backend_->update(memory_, nullptr); }

  /// Parameters, then state: what the update reads and writes.
  const std::vector<float*>& in_place() const { return in_place_; }

 private:
  Layout layout_;
  host::Setup setup_;
  std::unique_ptr<host::Backend> backend_;
  Floats params_;
  host::StepMemory memory_;
  std::vector<float*> in_place_;
};

}  // namespace gramstep::bench
