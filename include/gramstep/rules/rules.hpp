// The list of rules: adding one is its header and one line here.
#pragma once

#include <variant>

#include "gramstep/rules/adadelta.hpp"
#include "gramstep/rules/adafactor.hpp"
#include "gramstep/rules/adagrad.hpp"
#include "gramstep/rules/adam.hpp"
#include "gramstep/rules/adamax.hpp"
#include "gramstep/rules/adamw.hpp"
#include "gramstep/rules/ademamix.hpp"
#include "gramstep/rules/lamb.hpp"
#include "gramstep/rules/lars.hpp"
#include "gramstep/rules/lion.hpp"
#include "gramstep/rules/muon.hpp"
#include "gramstep/rules/nadam.hpp"
#include "gramstep/rules/radam.hpp"
#include "gramstep/rules/rmsprop.hpp"
#include "gramstep/rules/schedule_free.hpp"
#include "gramstep/rules/sgd.hpp"
#include "gramstep/rules/traits.hpp"

namespace gramstep::inline v1 {

/// Any optimizer rule.
using Rule = std::variant<  //
    SGD,                    //
    Adam,                   //
    AdamW,                  //
    NAdam,                  //
    RAdam,                  //
    Adamax,                 //
    Adagrad,                //
    Adadelta,               //
    RMSprop,                //
    Lion,                   //
    AdEMAMix,               //
    LAMB,                   //
    LARS,                   //
    Adafactor,              //
    Muon,                   //
    ScheduleFreeSGD,        //
    ScheduleFreeAdamW>;

}  // namespace gramstep::inline v1
