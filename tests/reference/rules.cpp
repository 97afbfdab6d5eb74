#include "tests/reference/rules.hpp"

#include "tests/reference/adam_family.hpp"
#include "tests/reference/layerwise.hpp"
#include "tests/reference/matrix_rules.hpp"
#include "tests/reference/other_rules.hpp"
#include "tests/reference/schedule_free.hpp"

namespace gramstep::reference {

template <class Number>
void update(const RuleOptions& o, const std::vector<Number>& gradient, std::vector<Number>& params,
            RuleState<Number>& state) {
  ++state.t;
  std::vector<Number> g = gradient;
  if (o.maximize) {
    for (Number& each : g) each = -each;
  }
  switch (o.method) {
    case Method::sgd: return sgd(o, g, params, state);
    case Method::adam:
    case Method::adamw: return adam(o, g, params, state);
    case Method::nadam: return nadam(o, g, params, state);
    case Method::radam: return radam(o, g, params, state);
    case Method::adamax: return adamax(o, g, params, state);
    case Method::ademamix: return ademamix(o, g, params, state);
    case Method::lamb: return lamb(o, g, params, state);
    case Method::lars: return lars(o, g, params, state);
    case Method::adagrad: return adagrad(o, g, params, state);
    case Method::adadelta: return adadelta(o, g, params, state);
    case Method::rmsprop: return rmsprop(o, g, params, state);
    case Method::lion: return lion(o, g, params, state);
    case Method::schedule_free_sgd:
    case Method::schedule_free_adamw: return schedule_free(o, g, params, state);
    case Method::adafactor: return AdafactorStep<Number>(o, state)(g, params);
    case Method::muon: return muon(o, g, params, state);
  }
}

template <class Number>
std::vector<Number> averaged(const RuleOptions& o, const std::vector<Number>& params,
                             RuleState<Number>& state) {
  const double share = o.method == Method::schedule_free_sgd ? o.momentum : o.beta1;
  std::vector<Number> result;
  for (std::size_t i = 0; i < params.size(); ++i) {
    result.push_back(lerp(params[i], state["z"][i], Number(1) - Number(1) / Number(share)));
  }
  return result;
}

template void update(const RuleOptions&, const std::vector<double>&, std::vector<double>&,
                     RuleState<double>&);
template void update(const RuleOptions&, const std::vector<Bounded>&, std::vector<Bounded>&,
                     RuleState<Bounded>&);
template std::vector<double> averaged(const RuleOptions&, const std::vector<double>&,
                                      RuleState<double>&);
template std::vector<Bounded> averaged(const RuleOptions&, const std::vector<Bounded>&,
                                       RuleState<Bounded>&);

}  // namespace gramstep::reference
