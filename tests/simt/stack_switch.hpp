// The machine's part of a fiber: a second stack, and the jump from one stack to the other.
#pragma once

#include <cstddef>

namespace gramstep::simt {

/// What a fresh stack runs. It must not return: there is nothing below it.
using StackFunction = void (*)(void* argument);

/// Makes a stack of [bottom, bottom + size) on which the first switch calls function(argument).
/// Returns the stack pointer to switch to; both ends are multiples of 16.
void* prepare_stack(void* bottom, std::size_t size, StackFunction function, void* argument);

/// Leaves the running stack, whose pointer goes to `from`, and continues on the one that stopped at
/// `to`. The floating-point environment (rounding, flush to zero) is not part of a stack: it stays.
void switch_stack(void** from, void* to);

}  // namespace gramstep::simt
