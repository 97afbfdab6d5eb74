// What the C ABI's handles point to.
#pragma once

#include "gramstep/gramstep.h"
#include "gramstep/gramstep.hpp"

struct gramstep_layout {
  gramstep::Layout layout;
};

struct gramstep_optimizer {
  gramstep::Optimizer optimizer;
};
