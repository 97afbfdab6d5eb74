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
std::vector<td::Data> make_data(const td::Options& options) {
  const std::vector<td::Digit> digits = td::read_digits(options.data);
  const td::Split split = td::split_digits(static_cast<int>(digits.size()));
  const auto& held_out = options.evaluate == "test" ? split.test : split.validation;
  std::vector<td::Data> data;
  for (int seed = 1; seed <= options.seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    data.push_back({td::compose(digits, split.train, options.train_pairs, s),
                    td::compose(digits, held_out, options.held_out_pairs, 0)});
    td::add_label_noise(data.back().train.labels[1], options.label_noise, s);
  }
  return data;
}

std::vector<td::RunOptions> make_runs(const td::Options& options) {
  std::vector<td::RunOptions> runs;
  for (const std::string& rule : options.rules) {
    for (const std::string& aggregator : options.aggregators.texts) {
      for (int seed = 1; seed <= options.seeds; ++seed) {
        const auto s = static_cast<std::uint64_t>(seed);
        runs.push_back({.run = {rule, aggregator, s},
                        .rule = options.lr ? td::with_lr(td::rule_named(rule), *options.lr)
                                           : td::rule_named(rule),
                        .aggregator = td::with_seed(td::aggregator_named(aggregator), s),
                        .epochs = options.epochs,
                        .batch = options.batch,
                        .scales = {1.0f, static_cast<float>(options.scale)}});
      }
    }
  }
  return runs;
}

std::vector<td::RunResult> train_all(td::Backend<float>& backend, const td::Options& options,
                                     const std::vector<td::Data>& data) {
  const std::vector<td::RunOptions> runs = make_runs(options);
  td::StepLog log(std::filesystem::path(options.output) / "steps.jsonl");
  td::Progress progress(static_cast<std::int64_t>(runs.size()) * options.epochs *
                        td::steps_an_epoch(options.train_pairs, options.batch));
  std::vector<td::RunResult> results;
  for (const td::RunOptions& run : runs) {
    const auto& [rule, aggregator, seed] = run.run;
    const std::string label = rule + ", " + aggregator + ", seed " + std::to_string(seed);
    results.push_back(
        td::train(backend, run, data[seed - 1], log, [&] { progress.advance(label); }));
  }
  return results;
}

void run(const td::Options& options) {
  for (const auto& [name, reason] : options.aggregators.left_out) {
    std::cerr << "left out: " << reason << '\n';
  }
  const auto backend = make_backend(options);
  const std::filesystem::path output = options.output;
  std::filesystem::create_directories(output);
  const std::vector<td::Data> data = make_data(options);
  const std::vector<td::RunResult> results = train_all(*backend, options, data);
  td::print_table(std::cout, td::summarise(results));
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
