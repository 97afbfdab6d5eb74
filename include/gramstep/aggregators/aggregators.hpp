// The list of aggregators: adding one is its header and one line here.
#pragma once

#include <variant>

#include "gramstep/aggregators/aligned_mtl.hpp"
#include "gramstep/aggregators/cagrad.hpp"
#include "gramstep/aggregators/config.hpp"
#include "gramstep/aggregators/constant.hpp"
#include "gramstep/aggregators/db_mtl.hpp"
#include "gramstep/aggregators/dualproj.hpp"
#include "gramstep/aggregators/dwa.hpp"
#include "gramstep/aggregators/fairgrad.hpp"
#include "gramstep/aggregators/famo.hpp"
#include "gramstep/aggregators/gls.hpp"
#include "gramstep/aggregators/graddrop.hpp"
#include "gramstep/aggregators/gradnorm.hpp"
#include "gramstep/aggregators/gradvac.hpp"
#include "gramstep/aggregators/imtl_g.hpp"
#include "gramstep/aggregators/imtl_l.hpp"
#include "gramstep/aggregators/krum.hpp"
#include "gramstep/aggregators/mean.hpp"
#include "gramstep/aggregators/mgda.hpp"
#include "gramstep/aggregators/moco.hpp"
#include "gramstep/aggregators/modo.hpp"
#include "gramstep/aggregators/momentum_config.hpp"
#include "gramstep/aggregators/nash_mtl.hpp"
#include "gramstep/aggregators/pcgrad.hpp"
#include "gramstep/aggregators/random.hpp"
#include "gramstep/aggregators/scale_invariant.hpp"
#include "gramstep/aggregators/sdmgrad.hpp"
#include "gramstep/aggregators/stch.hpp"
#include "gramstep/aggregators/sum.hpp"
#include "gramstep/aggregators/trimmed_mean.hpp"
#include "gramstep/aggregators/uncertainty.hpp"
#include "gramstep/aggregators/upgrad.hpp"

namespace gramstep::inline v1 {

/// Any aggregator.
using Aggregator = std::variant<
    // The gradients alone.
    Sum, Mean, Constant, Random, PCGrad, GradVac, MGDA, CAGrad, IMTLG, NashMTL, FairGrad,
    AlignedMTL, DualProj, UPGrad, ConFIG, SDMGrad, MoDo, Krum,
    // The losses.
    UncertaintyWeighting, DWA, GLS, ScaleInvariant, FAMO, STCH, IMTLL, GradNorm,
    // Momenta of the gradients.
    MoCo, DBMTL, MomentumConFIG,
    // Element by element.
    GradDrop, TrimmedMean>;

}  // namespace gramstep::inline v1
