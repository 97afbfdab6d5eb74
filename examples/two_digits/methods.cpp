#include "methods.hpp"

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "pairs.hpp"

namespace gs = gramstep;

namespace two_digits {
namespace {

bool same_but_for_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return std::tolower(static_cast<unsigned char>(c)); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\n";
  const std::size_t first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

/// The parts between commas; those within brackets belong to the text.
std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> parts;
  std::size_t first = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= list.size(); ++i) {
    const char c = i < list.size() ? list[i] : ',';
    if (c == '(' || c == '[') ++depth;
    if (c == ')' || c == ']') --depth;
    if (i < list.size() && (c != ',' || depth > 0)) continue;
    parts.push_back(trimmed(list.substr(first, i - first)));
    first = i + 1;
  }
  return parts;
}

/// The text with its name as the library writes it, where there is one like it.
std::string with_name_as_listed(std::string_view text) {
  const std::string_view name = trimmed(text.substr(0, text.find('(')));
  for (const std::string_view listed : gs::aggregator_names()) {
    if (same_but_for_case(name, listed)) {
      return std::string(listed) + std::string(text.substr(name.size()));
    }
  }
  return std::string(text);
}

/// Throws gramstep::InvalidArgument unless the text is an aggregator for two tasks.
void expect_usable(const std::string& text) {
  std::visit([](const auto& a) { a.validate(static_cast<int>(tasks)); }, gs::aggregator_of(text));
}

void add_once(std::vector<std::string>& texts, const std::string& text) {
  if (!std::ranges::count(texts, text)) texts.push_back(text);
}

void add_all(AggregatorList& list) {
  for (const std::string_view name : gs::aggregator_names()) {
    const std::string text(name);
    try {
      expect_usable(text);
    } catch (const gs::InvalidArgument& error) {
      list.left_out.push_back({text, error.what()});
      continue;
    }
    add_once(list.texts, text);
  }
}

}  // namespace

// Learning rates: the best mean accuracy on the validation digits over a coarse grid, with Sum and
// with PCGrad; of rates within 0.2 points the smallest. README.md has the grid.
const std::vector<Named<gs::Rule>>& rules() {
  static const std::vector<Named<gs::Rule>> list{
      {"sgd", gs::SGD{.lr = 0.2}},
      {"momentum", gs::SGD{.lr = 0.1, .momentum = 0.9}},
      {"adam", gs::Adam{.lr = 1e-3}},
      {"adamw", gs::AdamW{.lr = 1e-3}},
  };
  return list;
}

const gs::Rule& rule_named(const std::string& name) {
  const auto found = std::ranges::find(rules(), name, &Named<gs::Rule>::name);
  if (found == rules().end()) throw std::invalid_argument("no rule is called '" + name + "'");
  return found->options;
}

double lr_of(const gs::Rule& rule) {
  return std::visit([](const auto& r) { return r.lr; }, rule);
}

gs::Rule with_lr(gs::Rule rule, double lr) {
  std::visit([lr](auto& r) { r.lr = lr; }, rule);
  return rule;
}

AggregatorList read_aggregators(std::string_view list) {
  AggregatorList read;
  for (const std::string_view part : split(list)) {
    if (same_but_for_case(part, "all")) {
      add_all(read);
      continue;
    }
    const std::string text = with_name_as_listed(part);
    expect_usable(text);
    add_once(read.texts, text);
  }
  return read;
}

gs::Aggregator aggregator_named(const std::string& text) { return gs::aggregator_of(text); }

gs::Aggregator with_seed(gs::Aggregator aggregator, std::uint64_t seed) {
  std::visit(
      [seed](auto& a) {
        if constexpr (requires { a.seed; }) a.seed = seed;
      },
      aggregator);
  return aggregator;
}

}  // namespace two_digits
