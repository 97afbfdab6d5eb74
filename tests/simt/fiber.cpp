#include "fiber.hpp"

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace gramstep::simt {
namespace {

// Room for the frames of an unoptimised, instrumented body and for a sanitizer's report. Pages that
// nobody touches cost nothing.
constexpr std::size_t stack_bytes = 128 * 1024;
// Below the stack, and never accessible: an overflow ends in a fault instead of in another stack.
constexpr std::size_t guard_bytes = 64 * 1024;  // a page or more on any machine

void* map_stack() {
  void* mapping = mmap(nullptr, guard_bytes + stack_bytes, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  void* bottom = static_cast<std::byte*>(mapping) + guard_bytes;
  if (mprotect(bottom, stack_bytes, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, guard_bytes + stack_bytes);
    throw std::bad_alloc();
  }
  return bottom;
}

void unmap_stack(const void* bottom) {
  auto* mapping = static_cast<std::byte*>(const_cast<void*>(bottom)) - guard_bytes;
  munmap(mapping, guard_bytes + stack_bytes);
}

}  // namespace

Fiber::Fiber(StackFunction function, void* argument) : function_(function), argument_(argument) {
  void* bottom = map_stack();
  inside_.stack_pointer = prepare_stack(bottom, stack_bytes, &Fiber::begin, this);
  inside_.identity.bottom = bottom;
  inside_.identity.size = stack_bytes;
  sanitizers::create(inside_.identity);
}

Fiber::~Fiber() {
  sanitizers::destroy(inside_.identity);
  unmap_stack(inside_.identity.bottom);
}

void Fiber::begin(void* self) {
  auto& fiber = *static_cast<Fiber*>(self);
  sanitizers::after_switch(fiber.inside_.identity, fiber.outside_.identity);
  fiber.function_(fiber.argument_);
}

void Fiber::switch_sides(Side& from, Side& to) {
  sanitizers::before_switch(from.identity, to.identity);
  switch_stack(&from.stack_pointer, to.stack_pointer);
  sanitizers::after_switch(from.identity, to.identity);
}

}  // namespace gramstep::simt
