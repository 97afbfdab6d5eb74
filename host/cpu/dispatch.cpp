// Chooses the instruction set. With host/cpu/flush_to_zero.hpp, all that is tied to a processor.
#include <cstdlib>
#include <string>

#include "gramstep/error.hpp"
#include "gramstep/optimizer.hpp"
#include "host/cpu/leaves.hpp"

namespace gramstep::host {

#if defined(GRAMSTEP_X86_DISPATCH)
extern const Leaves leaves_x86_64_v2, leaves_x86_64_v3, leaves_x86_64_v4;
#else
extern const Leaves leaves_generic;
#endif

namespace {

struct Choice : NamedLeaves {
  bool available;
};

#if defined(GRAMSTEP_X86_DISPATCH)
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }

bool has_v3() {
  return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif

NamedLeaves choose(std::string_view wanted) {
#if defined(GRAMSTEP_X86_DISPATCH)
  __builtin_cpu_init();
  const Choice choices[] = {{{"x86-64-v4", &leaves_x86_64_v4}, has_v4()},
                            {{"x86-64-v3", &leaves_x86_64_v3}, has_v3()},
                            {{"x86-64-v2", &leaves_x86_64_v2}, has_v2()}};
#else
  const Choice choices[] = {{{"generic", &leaves_generic}, true}};
#endif
  std::string names;
  for (const Choice& choice : choices) {
    if (wanted.empty() ? choice.available : choice.isa == wanted) {
      if (choice.available) return choice;
      throw DeviceUnavailable("GRAMSTEP_CPU_ISA: got " + std::string(wanted) +
                              ", which this processor lacks");
    }
    names += (names.empty() ? "" : ", ") + std::string(choice.isa);
  }
  if (wanted.empty()) throw DeviceUnavailable("cpu: this processor has none of " + names);
  throw InvalidArgument("GRAMSTEP_CPU_ISA: got " + std::string(wanted) + ", expected one of " +
                        names);
}

}  // namespace

NamedLeaves choose_leaves() {
  const char* wanted = std::getenv("GRAMSTEP_CPU_ISA");
  return choose(wanted == nullptr ? "" : wanted);
}

}  // namespace gramstep::host

namespace gramstep::inline v1 {

std::string_view cpu_isa() { return host::choose_leaves().isa; }

}  // namespace gramstep::inline v1
