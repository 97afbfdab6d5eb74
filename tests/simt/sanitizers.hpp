// What the sanitizers must be told about fibers; nothing where a sanitizer is off.
//
// ASan has to know the bounds of the stack that runs. TSan has to take every fiber for a thread,
// and to learn from us, and from us alone, which accesses a barrier puts in order.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GRAMSTEP_SIMT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define GRAMSTEP_SIMT_ASAN 1
#endif

#if GRAMSTEP_SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if GRAMSTEP_SIMT_TSAN  // not __SANITIZE_THREAD__: the runtime itself is never instrumented
#include <sanitizer/tsan_interface.h>
#endif

namespace gramstep::simt::sanitizers {

/// A stack as the sanitizers know it.
struct StackIdentity {
  const void* bottom = nullptr;
  std::size_t size = 0;
  void* fake_stack = nullptr;  // ASan's, while this stack does not run
  void* fiber = nullptr;       // TSan's
};

#if GRAMSTEP_SIMT_TSAN
inline void create(StackIdentity& stack) { stack.fiber = __tsan_create_fiber(0); }
inline void destroy(StackIdentity& stack) { __tsan_destroy_fiber(stack.fiber); }
#elif GRAMSTEP_SIMT_ASAN
inline void create(StackIdentity&) {}
/// The frames of a fiber that is dropped halfway never leave, so their red zones would stay.
inline void destroy(StackIdentity& stack) {
  __asan_unpoison_memory_region(stack.bottom, stack.size);
}
#else
inline void create(StackIdentity&) {}
inline void destroy(StackIdentity&) {}
#endif

/// To be called just before the switch from one stack to another.
inline void before_switch([[maybe_unused]] StackIdentity& from,
                          [[maybe_unused]] StackIdentity& to) {
#if GRAMSTEP_SIMT_TSAN
  from.fiber = __tsan_get_current_fiber();
  // A plain switch would order all that one fiber did before all that the next does.
  __tsan_switch_to_fiber(to.fiber, __tsan_switch_to_fiber_no_sync);
#endif
#if GRAMSTEP_SIMT_ASAN
  __sanitizer_start_switch_fiber(&from.fake_stack, to.bottom, to.size);
#endif
}

/// To be called first on the stack that runs again, `here`; `from` is the one that was left.
inline void after_switch([[maybe_unused]] StackIdentity& here,
                         [[maybe_unused]] StackIdentity& from) {
#if GRAMSTEP_SIMT_ASAN
  __sanitizer_finish_switch_fiber(here.fake_stack, &from.bottom, &from.size);
#endif
}

/// What the caller did so far comes before what follows a later acquire() of the same mark.
inline void release([[maybe_unused]] char& mark) {
#if GRAMSTEP_SIMT_TSAN
  __tsan_release(&mark);
#endif
}

inline void acquire([[maybe_unused]] char& mark) {
#if GRAMSTEP_SIMT_TSAN
  __tsan_acquire(&mark);
#endif
}

}  // namespace gramstep::simt::sanitizers
