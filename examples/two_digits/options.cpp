#include "options.hpp"

#include <CLI/CLI.hpp>
#include <limits>

namespace two_digits {
namespace {

/// What is wrong with a list of aggregators, as CLI11 wants to be told.
std::string fault_of_aggregators(const std::string& list) {
  try {
    read_aggregators(list);
  } catch (const gramstep::InvalidArgument& error) {
    return error.what();
  }
  return "";
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  o.rules = names(rules());
  std::string aggregators = "Sum,PCGrad";
  o.data = TWO_DIGITS_DATA;
  bool quick = false;
  const CLI::Range count(1, std::numeric_limits<int>::max(), "COUNT");
  const CLI::Range positive(std::numeric_limits<double>::min(), std::numeric_limits<double>::max(),
                            "POSITIVE");

  CLI::App app(
      "Trains a network that reads two overlapping digits, with every rule and aggregator "
      "asked for, and compares them.");
  app.option_defaults()->always_capture_default();
  app.add_option("--rules", o.rules, "optimizer rules")
      ->delimiter(',')
      ->check(CLI::IsMember(names(rules())));
  app.add_option("--aggregators", aggregators,
                 "how the task gradients are combined: names with options, such as "
                 "Sum,CAGrad(c=0.4), or all: every one that does for two tasks")
      ->check(CLI::Validator(fault_of_aggregators, "LIST"));
  app.add_option("--seeds", o.seeds, "runs of each method")->check(count);
  app.add_option("--epochs", o.epochs, "passes over the training images")->check(count);
  app.add_option("--batch", o.batch, "images a step")->check(count);
  app.add_option("--train-pairs", o.train_pairs, "training images to compose")->check(count);
  app.add_option("--label-noise", o.label_noise, "share of the right digit's labels made random")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--scale", o.scale, "factor on the right digit's loss")->check(positive);
  app.add_option("--lr", o.lr, "learning rate of all rules, instead of their own")->check(positive);
  app.add_option("--evaluate", o.evaluate, "digits to measure the accuracy on")
      ->check(CLI::IsMember({"test", "validation"}));
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
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  o.aggregators = read_aggregators(aggregators);
  if (quick) {
    o.seeds = 1;
    o.epochs = 2;
  }
  return o;
}

}  // namespace two_digits
