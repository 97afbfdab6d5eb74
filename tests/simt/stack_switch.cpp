#include "stack_switch.hpp"

#include <new>

#if !defined(GRAMSTEP_SIMT_UCONTEXT) && !(defined(__x86_64__) && defined(__linux__))
#define GRAMSTEP_SIMT_UCONTEXT 1
#endif

#if GRAMSTEP_SIMT_UCONTEXT
#include <fenv.h>
#include <ucontext.h>
#endif

namespace gramstep::simt {

#if GRAMSTEP_SIMT_UCONTEXT

namespace {

/// What lies at the bottom of a stack until the first switch to it.
struct FirstCall {
  ucontext_t context;  // first, for a stack pointer is a pointer to the context that stopped there
  StackFunction function;
  void* argument;
};

/// What the stack that is left tells the one that continues.
struct Handover {
  void* to;
  fenv_t environment;  // a ucontext_t has its own, as it was when that stack stopped
};
thread_local Handover handover;

void begin() {
  fesetenv(&handover.environment);
  const auto* first = static_cast<const FirstCall*>(handover.to);
  first->function(first->argument);
}

}  // namespace

void* prepare_stack(void* bottom, std::size_t size, StackFunction function, void* argument) {
  auto* first = new (bottom) FirstCall{{}, function, argument};
  getcontext(&first->context);
  first->context.uc_stack.ss_sp = bottom;
  first->context.uc_stack.ss_size = size;
  first->context.uc_link = nullptr;
  makecontext(&first->context, begin, 0);
  return first;
}

void switch_stack(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  handover.to = to;
  fegetenv(&handover.environment);
  swapcontext(&here, static_cast<ucontext_t*>(to));
  fesetenv(&handover.environment);
}

#else

// The callee-saved registers are the whole state: the compiler has saved the others at the call.
// MXCSR and the x87 control word are left alone on purpose. A jump, because a `ret` to another
// stack is mispredicted every time: 16 ns a switch there and back instead of 28.
extern "C" void gramstep_simt_switch(void** from, void* to);
extern "C" void gramstep_simt_begin();
asm(R"(
  .pushsection .text
  .globl gramstep_simt_switch
  .type gramstep_simt_switch, @function
gramstep_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
  .size gramstep_simt_switch, . - gramstep_simt_switch

  .globl gramstep_simt_begin
  .type gramstep_simt_begin, @function
gramstep_simt_begin:
  .cfi_startproc
  .cfi_undefined rip
  movq %r12, %rdi
  callq *%rbx
  ud2
  .cfi_endproc
  .size gramstep_simt_begin, . - gramstep_simt_begin
  .popsection
)");

namespace {

/// What gramstep_simt_switch finds on a stack it has never left, in the order it pops.
struct FirstFrame {
  void* r15;
  void* r14;
  void* r13;
  void* argument;          // r12
  StackFunction function;  // rbx
  void* frame_pointer;     // null: debuggers and sanitizers stop unwinding here
  void (*return_address)();
};

}  // namespace

void* prepare_stack(void* bottom, std::size_t size, StackFunction function, void* argument) {
  // gramstep_simt_begin starts with the frame popped, hence at the top, which is aligned to 16 as a
  // call requires.
  auto* top = static_cast<std::byte*>(bottom) + size;
  return new (top - sizeof(FirstFrame))
      FirstFrame{nullptr, nullptr, nullptr, argument, function, nullptr, gramstep_simt_begin};
}

void switch_stack(void** from, void* to) { gramstep_simt_switch(from, to); }

#endif

}  // namespace gramstep::simt
