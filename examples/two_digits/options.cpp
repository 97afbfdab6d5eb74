#include "options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace two_digits {
namespace {

/// What is wrong with a list, as CLI11 wants to be told.
template <class Read>
CLI::Validator list_of(Read read) {
  const auto fault = [read](const std::string& list) -> std::string {
    try {
      read(list);
    } catch (const gramstep::InvalidArgument& error) {
      return error.what();
    }
    return "";
  };
  return {fault, "LIST"};
}

/// What is wrong with --lr.
std::string fault_of_rate(const std::string& text) {
  if (text == "search" || text == "default") return "";
  double rate = 0;
  const char* end = text.data() + text.size();
  const auto [read, error] = std::from_chars(text.data(), end, rate);
  const bool usable = error == std::errc() && read == end && std::isfinite(rate) && rate > 0;
  return usable ? "" : "got " + text + ", expected search, default or a number > 0";
}

/// What the rules' state can be stored as.
constexpr std::array state_types{gramstep::DType::float32, gramstep::DType::bfloat16,
                                 gramstep::DType::dynamic8};

std::vector<std::string> names_of_states() {
  std::vector<std::string> names;
  for (const gramstep::DType type : state_types) names.emplace_back(gramstep::name_of(type));
  return names;
}

/// Gives the rules without a learning rate what --lr says; `search` is for later. Throws
/// CLI::ValidationError where it was asked for and none is without.
void set_rates(RuleList& list, const std::string& lr, bool asked_for) {
  if (asked_for && std::ranges::all_of(list.rules, &NamedRule::lr_given)) {
    throw CLI::ValidationError("--lr", "got " + lr + ", but each of --rules has an lr of its own");
  }
  if (lr == "search") return;
  for (NamedRule& each : list.rules) {
    if (each.lr_given) continue;
    each.lr_given = true;
    if (lr != "default") each.rule = with_lr(each.rule, std::stod(lr));
  }
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  std::string rules = default_rules, aggregators = default_aggregators, lr = "search";
  std::string states = std::string(gramstep::name_of(o.states));
  o.data = TWO_DIGITS_DATA;
  bool quick = false;
  const CLI::Range count(1, std::numeric_limits<int>::max(), "COUNT");
  const CLI::Range positive(std::numeric_limits<double>::min(), std::numeric_limits<double>::max(),
                            "POSITIVE");

  CLI::App app(
      "Trains a network that reads two overlapping digits, with every rule and aggregator "
      "asked for, and compares them.");
  app.option_defaults()->always_capture_default();
  app.add_option(
         "--rules", rules,
         "optimizer rules: names with options, such as Lion,SGD(momentum=0.9), or all: every "
         "one with default options")
      ->check(list_of(read_rules));
  app.add_option("--aggregators", aggregators,
                 "how the task gradients are combined: names with options, such as "
                 "Sum,CAGrad(c=0.4), or all: every one that does for two tasks")
      ->check(list_of(read_aggregators));
  app.add_option("--seeds", o.seeds, "runs of each method")->check(count);
  app.add_option("--epochs", o.epochs, "passes over the training images")->check(count);
  app.add_option("--batch", o.batch, "images a step")->check(count);
  app.add_option("--train-pairs", o.train_pairs, "training images to compose")->check(count);
  app.add_option("--label-noise", o.label_noise, "share of the right digit's labels made random")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--scale", o.scale, "factor on the right digit's loss")->check(positive);
  const CLI::Option* lr_option =
      app.add_option("--lr", lr,
                     "learning rate of the rules whose text has none: search (on the validation "
                     "digits), default (the library's), or a number")
          ->check(CLI::Validator(fault_of_rate, "RATE"));
  app.add_option("--evaluate", o.evaluate, "digits to measure the accuracy on")
      ->check(CLI::IsMember({"test", "validation"}));
  app.add_option("--states", states,
                 "how the rules' state is stored; what is not float32 is rounded stochastically")
      ->check(CLI::IsMember(names_of_states()));
  app.add_option("--device", o.device, "where to train; auto: a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--threads", o.threads,
                 "CPU threads; a network this small gains nothing from more")
      ->check(CLI::Range(1, 1024));
  app.add_option("--data", o.data, "digits.csv.gz")->check(CLI::ExistingFile);
  app.add_option("--output", o.output, "folder for what is written");
  app.add_flag("--quick", quick, "one seed, two epochs: to see that everything runs");

  try {
    app.parse(argc, argv);
    o.rules = read_rules(rules);
    set_rates(o.rules, lr, lr_option->count() > 0);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  o.aggregators = read_aggregators(aggregators);
  o.states = *std::ranges::find(state_types, states, gramstep::name_of);
  if (quick) {
    o.seeds = 1;
    o.epochs = 2;
  }
  return o;
}

}  // namespace two_digits
