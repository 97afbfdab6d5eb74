// The list of rules: adding one is its header and one line here.
#pragma once

#include <variant>

#include "gramstep/rules/adam.hpp"
#include "gramstep/rules/adamw.hpp"
#include "gramstep/rules/sgd.hpp"

namespace gramstep::inline v1 {

/// Any optimizer rule.
using Rule = std::variant<  //
    SGD,                    //
    Adam,                   //
    AdamW>;

}  // namespace gramstep::inline v1
