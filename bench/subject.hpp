// Subject: what is measured, as a case of the grid.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gramstep/gramstep.hpp"
#include "host/backend.hpp"

namespace gramstep::bench {

/// A benchmark's place in the grid.
struct Case {
  std::string rule = "AdamW";  // as rule_of reads it
  int tasks = 1;
  std::int64_t size = 0;             // elements of all segments together
  int segments = 1;                  // of equal size
  bool matrix = false;               // one segment, of as many rows as columns
  DType gradients = DType::float32;  // or bfloat16

  /// subject/K:../N:.. and, where there are several, /segments:..; /matrix; /bf16-gradients
  std::string name(const std::string& subject) const;
  Layout layout() const;
  /// Of a whole step: PCGrad for several tasks; a clip that leaves the values as they are.
  OptimizerOptions options(Device device) const;
  /// Elements of rows, parameters and state.
  std::int64_t floats() const;
};

/// Every rule as it is by default, and with the options by which it keeps other state.
std::vector<std::string> every_rule();

/// What a pass over memory moves: arrays that are read and written back, and arrays that are read.
struct Pass {
  std::vector<float*> in_place;
  std::vector<const float*> read;
};

/// The passes of a rule's update of a matrix, or of anything else; in_place: parameters, then state. What is
/// kept by row or column counts for nothing.
std::vector<Pass> passes_of(const Rule& rule, bool matrix, std::span<float* const> in_place,
                            std::span<const float* const> rows);

/// Bytes that passes over `size` elements move.
std::int64_t bytes_of(const std::vector<Pass>& passes, std::int64_t size);

/// The gram and update stages of a case, to be run alone, on memory that is given.
class Stages {
 public:
  /// Runs gram and plan of some steps, so that the update knows what to do, and that it is not a
  /// rule's first: RAdam has no denominator in its first five. rows: [K] pointers.
  Stages(const Case& which, Device device, float* params, const float* const* rows,
         Stream stream = nullptr);
  static constexpr int steps = 10;

  void gram() { backend_->gram(memory_, stream_); }
  void plan() { backend_->plan(memory_, stream_); }
  void update() { backend_->update(memory_, stream_); }

  /// Parameters, then state.
  const std::vector<float*>& in_place() const { return in_place_; }
  /// What the update reads and writes.
  std::vector<Pass> passes() const;

 private:
  host::Setup setup_;
  std::unique_ptr<host::Backend> backend_;
  host::StepMemory memory_;
  Stream stream_;
  std::vector<float*> in_place_;
};

}  // namespace gramstep::bench
