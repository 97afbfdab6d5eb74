// Aggregators, rules and schedules as text.
#include "gramstep/text.hpp"

#include "host/text.hpp"

namespace gramstep::inline v1 {

Aggregator aggregator_of(std::string_view text) {
  return host::read_text<Aggregator>("aggregator", text);
}
Rule rule_of(std::string_view text) { return host::read_text<Rule>("rule", text); }
Schedule schedule_of(std::string_view text) { return host::read_text<Schedule>("schedule", text); }

std::string text_of(const Aggregator& aggregator) { return host::written_text(aggregator); }
std::string text_of(const Rule& rule) { return host::written_text(rule); }
std::string text_of(const Schedule& schedule) { return host::written_text(schedule); }

std::vector<std::string_view> aggregator_names() { return host::all_names<Aggregator>(); }
std::vector<std::string_view> rule_names() { return host::all_names<Rule>(); }
std::vector<std::string_view> schedule_names() { return host::all_names<Schedule>(); }

std::vector<std::string_view> option_names(const Aggregator& aggregator) {
  return host::names_of_options(aggregator);
}
std::vector<std::string_view> option_names(const Rule& rule) {
  return host::names_of_options(rule);
}
std::vector<std::string_view> option_names(const Schedule& schedule) {
  return host::names_of_options(schedule);
}

}  // namespace gramstep::inline v1
