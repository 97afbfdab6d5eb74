// The list of aggregators: adding one is its header and one line here.
#pragma once

#include <variant>

#include "gramstep/aggregators/constant.hpp"
#include "gramstep/aggregators/mean.hpp"
#include "gramstep/aggregators/pcgrad.hpp"
#include "gramstep/aggregators/sum.hpp"

namespace gramstep::inline v1 {

/// Any aggregator.
using Aggregator = std::variant<  //
    Sum,                          //
    Mean,                         //
    Constant,                     //
    PCGrad>;

}  // namespace gramstep::inline v1
