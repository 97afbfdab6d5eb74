/* A C program of an installed library: the one that is linked is the one whose header was read. */
#include <gramstep/gramstep.h>
#include <stdio.h>

int main(void) {
  printf("gramstep %d on %s\n", gramstep_version(), gramstep_cpu_isa());
  return gramstep_version() == GRAMSTEP_C_VERSION_MAJOR * 1000 + GRAMSTEP_C_VERSION_MINOR ? 0 : 1;
}
