// A function on a stack of its own, which can stop in the middle and continue later.
#pragma once

#include "sanitizers.hpp"
#include "stack_switch.hpp"

namespace gramstep::simt {

class Fiber {
 public:
  /// `function` must not return; a fiber may be destroyed wherever it has stopped, and the frames
  /// on its stack are then dropped without running destructors.
  Fiber(StackFunction function, void* argument);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Starts or continues the function; returns when it suspends itself.
  void resume() { switch_sides(outside_, inside_); }
  /// Called by the function: returns when it is resumed.
  void suspend() { switch_sides(inside_, outside_); }

 private:
  struct Side {
    void* stack_pointer = nullptr;
    sanitizers::StackIdentity identity;
  };

  static void begin(void* self);
  static void switch_sides(Side& from, Side& to);

  StackFunction function_;
  void* argument_;
  Side inside_;
  Side outside_;  // whoever resumed it last
};

}  // namespace gramstep::simt
