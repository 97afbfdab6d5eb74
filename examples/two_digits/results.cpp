#include "results.hpp"

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "methods.hpp"
#include "model.hpp"

namespace gs = gramstep;

namespace two_digits {

using nlohmann::ordered_json;

namespace {

template <class T>
ordered_json or_null(const std::optional<T>& value) {
  return value ? ordered_json(*value) : ordered_json();
}

ordered_json by_task(const auto& values) {
  ordered_json result;
  for (std::size_t task = 0; task < tasks; ++task) result[task_names[task]] = values[task];
  return result;
}

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  if (!(file << text << '\n')) throw std::runtime_error(path.string() + ": cannot be written");
}

/// The spread over runs of what `value` takes from each.
template <class Value>
Spread spread_over(std::span<const RunResult> runs, Value value) {
  std::vector<double> values;
  for (const RunResult& run : runs) values.push_back(value(run));
  return spread_of(values);
}

MethodResult summarise_method(std::span<const RunResult> runs) {
  MethodResult method{.rule = runs[0].run.rule,
                      .lr = runs[0].lr,
                      .aggregator = runs[0].run.aggregator,
                      .seeds = runs.size()};
  for (std::size_t task = 0; task < tasks; ++task) {
    method.accuracy[task] =
        spread_over(runs, [task](const RunResult& run) { return run.accuracy[task]; });
    method.weights[task] =
        spread_over(runs, [task](const RunResult& run) { return run.weights[task]; });
  }
  method.conflict_rate = spread_over(runs, [](const RunResult& run) { return run.conflict_rate; });
  method.on_momenta = runs[0].on_momenta;
  if (runs[0].promise_kept) {
    method.promise_kept =
        spread_over(runs, [](const RunResult& run) { return *run.promise_kept; }).mean;
  }
  method.step_us = spread_over(runs, [](const RunResult& run) { return run.times.step_us; }).mean;
  if (runs[0].times.unfused_us) {
    method.fused_us =
        spread_over(runs, [](const RunResult& run) { return *run.times.fused_us; }).mean;
    method.unfused_us =
        spread_over(runs, [](const RunResult& run) { return *run.times.unfused_us; }).mean;
  }
  return method;
}

}  // namespace

void to_json(ordered_json& json, const Spread& spread) {
  json = {{"mean", spread.mean}, {"deviation", spread.deviation}};
}

void to_json(ordered_json& json, const RunResult& result) {
  json = {{"rule", result.run.rule},
          {"lr", result.lr},
          {"aggregator", result.run.aggregator},
          {"seed", result.run.seed},
          {"accuracy", by_task(result.accuracy)},
          {"last_epoch_losses", by_task(result.losses)},
          {"conflict_rate", result.conflict_rate},
          {"weights", by_task(result.weights)},
          {"promise_kept", or_null(result.promise_kept)},
          {"steps", result.steps},
          {"skipped", result.skipped},
          {"step_us", result.times.step_us},
          {"fused_us", or_null(result.times.fused_us)},
          {"unfused_us", or_null(result.times.unfused_us)},
          {"difference_of_allowed", result.times.difference}};
}

void to_json(ordered_json& json, const MethodResult& method) {
  json = {{"rule", method.rule},
          {"lr", method.lr},
          {"aggregator", method.aggregator},
          {"accuracy", by_task(method.accuracy)},
          {"conflict_rate", method.conflict_rate},
          {"on_momenta", method.on_momenta},
          {"weights", by_task(method.weights)},
          {"promise_kept", or_null(method.promise_kept)},
          {"step_us", method.step_us},
          {"fused_us", or_null(method.fused_us)},
          {"unfused_us", or_null(method.unfused_us)}};
}

void to_json(ordered_json& json, const Comparison& comparison) {
  static constexpr const char* verdicts[]{"shown", "hint", "nothing_told"};
  json = {{"rule", comparison.rule},
          {"aggregator", comparison.aggregator},
          {"reference_rule", comparison.reference_rule},
          {"reference_aggregator", comparison.reference_aggregator},
          {"task", task_names[comparison.task]},
          {"difference", comparison.difference.mean},
          {"half_width", comparison.difference.half_width},
          {"p", comparison.difference.p},
          {"adjusted_p", comparison.adjusted_p},
          {"verdict", verdicts[static_cast<std::size_t>(comparison.verdict)]}};
}

void to_json(ordered_json& json, const Finding& finding) {
  json = {{"topic", finding.topic}, {"text", finding.text}};
}

void to_json(ordered_json& json, const LeftOut& left_out) {
  json = {{"name", left_out.name}, {"reason", left_out.reason}};
}

void to_json(ordered_json& json, const Options& options) {
  json = {{"seeds", options.seeds},
          {"epochs", options.epochs},
          {"batch", options.batch},
          {"train_pairs", options.train_pairs},
          {"held_out_pairs", options.held_out_pairs},
          {"label_noise", options.label_noise},
          {"scale", options.scale},
          {"evaluate", options.evaluate},
          {"states", gs::name_of(options.states)},
          {"search_seeds", options.search_seeds()},
          {"rules_left_out", options.rules.left_out},
          {"aggregators_left_out", options.aggregators.left_out}};
}

void to_json(ordered_json& json, const RateSearch& search) {
  json = {{"rule", search.rule},
          {"rates", search.rates},
          {"accuracies", search.accuracies},
          {"chosen", search.rate()},
          {"edge", search.edge()}};
}

std::vector<MethodResult> summarise(std::span<const RunResult> runs) {
  std::vector<MethodResult> methods;
  while (!runs.empty()) {
    const Run& first = runs[0].run;
    const auto same = [&](const RunResult& result) {
      return result.run.rule == first.rule && result.run.aggregator == first.aggregator;
    };
    const auto size = static_cast<std::size_t>(std::ranges::find_if_not(runs, same) - runs.begin());
    methods.push_back(summarise_method(runs.first(size)));
    runs = runs.subspan(size);
  }
  return methods;
}

void write_summary(const std::filesystem::path& path, const Options& options,
                   const gs::Device& device, const Results& results) {
  const std::vector<RunResult>& runs = results.runs;
  const bool on_cpu = device.kind == gs::Device::Kind::cpu;
  const ordered_json summary{{"options", options},
                             {"machine",
                              {{"device", on_cpu ? "cpu" : "cuda"},
                               {"threads", device.threads},
                               {"isa", std::string(gs::cpu_isa())}}},
                             {"parameters", model_layout().parameters()},
                             {"reference_aggregator", reference_aggregator(runs)},
                             {"reference_rule", runs[0].run.rule},
                             {"findings", findings_of(results)},
                             {"rate_searches", results.searches},
                             {"methods", summarise(runs)},
                             {"aggregator_comparisons", compare_aggregators(runs)},
                             {"rule_comparisons", compare_rules(runs)},
                             {"runs", runs}};
  write_text(path, summary.dump(2));
}

void write_samples(const std::filesystem::path& path, const Pairs& samples) {
  const ordered_json json{
      {"side", canvas_side}, {"images", samples.images}, {"labels", by_task(samples.labels)}};
  write_text(path, json.dump());
}

}  // namespace two_digits
