// gramstep: the optimizer step of GPU trainers, for one task or many. The umbrella header.
#pragma once

#include "gramstep/aggregation.hpp"
#include "gramstep/aggregators/aggregators.hpp"
#include "gramstep/aggregators/traits.hpp"
#include "gramstep/buffer.hpp"
#include "gramstep/error.hpp"
#include "gramstep/layout.hpp"
#include "gramstep/optimizer.hpp"
#include "gramstep/precision.hpp"
#include "gramstep/report.hpp"
#include "gramstep/rules/rules.hpp"
#include "gramstep/saved_run.hpp"
#include "gramstep/schedules.hpp"
#include "gramstep/text.hpp"
#include "gramstep/views.hpp"
