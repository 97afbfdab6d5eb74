// Options: the command line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <gramstep/gramstep.hpp>

#include "methods.hpp"

namespace two_digits {

struct Options {
  static constexpr std::int64_t held_out_pairs = 2000;  ///< images to measure the accuracy on

  RuleList rules;     ///< see methods.hpp
  Texts aggregators;  ///< see methods.hpp
  int seeds = 3;      ///< runs a method, with seeds 1, 2, ...
  int epochs = 20;
  std::int64_t batch = 128;
  std::int64_t train_pairs = 8192;  ///< images composed for training
  double label_noise = 0;           ///< share of the right digit's training labels made random
  double scale = 1;                 ///< factor on the right digit's loss
  std::string evaluate = "test";    ///< test or validation
  gramstep::DType states = gramstep::DType::float32;  ///< of the rules' state
  std::string device = "auto";                        ///< auto, cpu or cuda
  int threads = 1;   ///< CPU threads; a network this small gains nothing from more
  std::string data;  ///< digits.csv.gz
  std::string output = "two_digits_output";

  /// Training runs that measure one learning rate.
  int search_seeds() const { return std::min(seeds, 2); }
};

/// Reads the command line. Prints help or what is wrong with an option and exits, as CLI11 does.
Options parse_options(int argc, char** argv);

}  // namespace two_digits
