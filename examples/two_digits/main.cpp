// two_digits: trains a network that reads two overlapping digits, with every method asked for.
#include <array>
#include <exception>
#include <filesystem>
#include <iostream>
#include <vector>

#include <gramstep/gramstep.hpp>

#include "backend.hpp"
#include "comparison.hpp"
#include "digits.hpp"
#include "methods.hpp"
#include "options.hpp"
#include "pairs.hpp"
#include "progress.hpp"
#include "results.hpp"
#include "search.hpp"
#include "statistics.hpp"
#include "step_log.hpp"
#include "trainer.hpp"

namespace gs = gramstep;
namespace td = two_digits;

namespace {

/// Which of the held-out pairs the report shows.
constexpr std::array<std::int64_t, 8> samples{0, 1, 2, 3, 4, 5, 6, 7};

std::unique_ptr<td::Backend<float>> make_backend(const td::Options& options) {
  const bool cuda =
      options.device == "cuda" || (options.device == "auto" && td::cuda_backend_usable());
  return cuda ? td::make_cuda_backend() : td::make_cpu_backend<float>(options.threads);
}

/// The data of every seed. All seeds are measured on the same pairs of held-out digits.
std::vector<td::Data> make_data(const td::Options& options, const std::string& evaluate) {
  const std::vector<td::Digit> digits = td::read_digits(options.data);
  const td::Split split = td::split_digits(static_cast<int>(digits.size()));
  const auto& held_out = evaluate == "test" ? split.test : split.validation;
  std::vector<td::Data> data;
  for (int seed = 1; seed <= options.seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    data.push_back({td::compose(digits, split.train, options.train_pairs, s),
                    td::compose(digits, held_out, options.held_out_pairs, 0)});
    td::add_label_noise(data.back().train.labels[1], options.label_noise, s);
  }
  return data;
}

td::RunOptions run_options(const td::Options& options, const td::Run& run, const gs::Rule& rule) {
  return {.run = run,
          .rule = rule,
          .aggregator = td::with_seed(gs::aggregator_of(run.aggregator), run.seed),
          .epochs = options.epochs,
          .batch = options.batch,
          .scales = {1.0f, static_cast<float>(options.scale)},
          .states = options.states};
}

std::int64_t steps_of(const td::Options& options, std::size_t runs) {
  return static_cast<std::int64_t>(runs) * options.epochs *
         td::steps_an_epoch(options.train_pairs, options.batch);
}

/// Searches the learning rate of the rules that have none, on the validation digits, and gives it
/// to them.
std::vector<td::RateSearch> choose_rates(td::Backend<float>& backend, td::Options& options) {
  std::vector<td::NamedRule*> wanting;
  std::size_t runs = 0;
  for (td::NamedRule& rule : options.rules.rules) {
    if (rule.lr_given) continue;
    wanting.push_back(&rule);
    runs += td::rates_to_try(rule.rule).size() * static_cast<std::size_t>(options.search_seeds());
  }
  if (wanting.empty()) return {};

  const std::vector<td::Data> data = make_data(options, "validation");
  const std::string& aggregator = td::reference_of(options.aggregators.texts);
  td::Progress progress(steps_of(options, runs));
  std::vector<td::RateSearch> searches;
  for (td::NamedRule* rule : wanting) {
    const auto trial = [&](const gs::Rule& tried, std::uint64_t seed) {
      td::RunOptions run = run_options(options, {rule->name, aggregator, seed}, tried);
      run.timed = false;
      const std::string label = "learning rate of " + rule->name;
      const auto result =
          td::train(backend, run, data[seed - 1], [&](auto&&...) { progress.advance(label); });
      return td::spread_of(result.accuracy).mean;
    };
    searches.push_back(td::search_rate(*rule, options.search_seeds(), trial));
    rule->rule = td::with_lr(rule->rule, searches.back().rate());
  }
  return searches;
}

std::vector<td::RunOptions> make_runs(const td::Options& options) {
  std::vector<td::RunOptions> runs;
  for (const td::NamedRule& rule : options.rules.rules) {
    for (const std::string& aggregator : options.aggregators.texts) {
      for (int seed = 1; seed <= options.seeds; ++seed) {
        const auto s = static_cast<std::uint64_t>(seed);
        runs.push_back(run_options(options, {rule.name, aggregator, s}, rule.rule));
      }
    }
  }
  return runs;
}

std::vector<td::RunResult> train_all(td::Backend<float>& backend, const td::Options& options,
                                     const std::vector<td::Data>& data) {
  const std::vector<td::RunOptions> runs = make_runs(options);
  td::StepLog log(std::filesystem::path(options.output) / "steps.jsonl");
  td::Progress progress(steps_of(options, runs.size()));
  std::vector<td::RunResult> results;
  for (const td::RunOptions& each : runs) {
    const auto& [rule, aggregator, seed] = each.run;
    const std::string label = rule + ", " + aggregator + ", seed " + std::to_string(seed);
    results.push_back(td::train(backend, each, data[seed - 1], [&](const auto&... seen) {
      log.write(each.run, seen...);
      progress.advance(label);
    }));
  }
  return results;
}

void run(td::Options options) {
  for (const auto* list : {&options.rules.left_out, &options.aggregators.left_out}) {
    for (const auto& [name, reason] : *list) std::cerr << "left out: " << reason << '\n';
  }
  const auto backend = make_backend(options);
  const std::filesystem::path output = options.output;
  std::filesystem::create_directories(output);
  const std::vector<td::RateSearch> searches = choose_rates(*backend, options);
  const std::vector<td::Data> data = make_data(options, options.evaluate);
  const td::Results results{searches, train_all(*backend, options, data)};
  td::print_table(std::cout, td::summarise(results.runs));
  td::print_findings(std::cout, td::findings_of(results));
  td::write_summary(output / "summary.json", options, backend->device(), results);
  td::write_samples(output / "samples.json", td::select(data[0].held_out, samples));
}

}  // namespace

int main(int argc, char** argv) {
  const td::Options options = td::parse_options(argc, argv);
  try {
    run(options);
  } catch (const std::exception& error) {
    std::cerr << "two_digits: " << error.what() << '\n';
    return 1;
  }
}
