#include "methods.hpp"

#include <algorithm>
#include <cctype>

#include "model.hpp"
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

/// The parts between a text's outer brackets: its options.
std::vector<std::string_view> options_in(std::string_view text) {
  const std::size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos) return {};
  return split(text.substr(open + 1, close - open - 1));
}

/// The text with its name as the library writes it, where there is one like it.
std::string with_name_as_listed(std::string_view text, const std::vector<std::string_view>& names) {
  const std::string_view name = trimmed(text.substr(0, text.find('(')));
  for (const std::string_view listed : names) {
    if (same_but_for_case(name, listed)) {
      return std::string(listed) + std::string(text.substr(name.size()));
    }
  }
  return std::string(text);
}

void add_once(std::vector<std::string>& texts, const std::string& text) {
  if (!std::ranges::count(texts, text)) texts.push_back(text);
}

/// Reads a list whose members have these names. expect_usable(text) throws
/// gramstep::InvalidArgument for one that does not do.
template <class Check>
Texts read_list(std::string_view list, const std::vector<std::string_view>& names,
                Check expect_usable) {
  Texts read;
  for (const std::string_view part : split(list)) {
    if (!same_but_for_case(part, "all")) {
      const std::string text = with_name_as_listed(part, names);
      expect_usable(text);
      add_once(read.texts, text);
      continue;
    }
    for (const std::string_view name : names) {
      const std::string text(name);
      try {
        expect_usable(text);
        add_once(read.texts, text);
      } catch (const gs::InvalidArgument& error) {
        read.left_out.push_back({text, error.what()});
      }
    }
  }
  return read;
}

void expect_usable_rule(const std::string& text) {
  gs::Optimizer(model_layout(), {.rule = gs::rule_of(text), .tasks = tasks, .device = gs::cpu(1)});
}

void expect_usable_aggregator(const std::string& text) {
  std::visit([](const auto& a) { a.validate(tasks); }, gs::aggregator_of(text));
}

bool gives_lr(std::string_view text) {
  return std::ranges::any_of(options_in(text), [](std::string_view option) {
    return trimmed(option.substr(0, option.find('='))) == "lr";
  });
}

/// The rule's text with those options only in which it is unlike another of the same name.
std::string text_beside(const gs::Rule& rule, const gs::Rule& other) {
  const std::string text = gs::text_of(rule), other_text = gs::text_of(other);
  const auto options = options_in(text), others = options_in(other_text);
  std::string result;
  for (std::size_t i = 0; i < options.size(); ++i) {
    if (options[i] == others[i]) continue;
    result += (result.empty() ? "(" : ", ") + std::string(options[i]);
  }
  return text.substr(0, text.find('(')) + result + (result.empty() ? "" : ")");
}

/// A rule of that kind with default options, but for lr.
gs::Rule plain(const gs::Rule& rule, double lr) {
  return with_lr(std::visit([]<class R>(const R&) { return gs::Rule(R{}); }, rule), lr);
}

NamedRule named(const std::string& text) {
  const gs::Rule rule = gs::rule_of(text);
  return {text_beside(rule, plain(rule, lr_of(rule))), rule, gives_lr(text)};
}

/// Names with their lr those that are like another but for it.
void tell_apart(std::vector<NamedRule>& rules) {
  std::vector<std::string> names;
  for (const NamedRule& each : rules) names.push_back(each.name);
  for (NamedRule& each : rules) {
    constexpr double nobodys_lr = -1;
    if (each.lr_given && std::ranges::count(names, each.name) > 1) {
      each.name = text_beside(each.rule, plain(each.rule, nobodys_lr));
    }
  }
}

}  // namespace

RuleList read_rules(std::string_view list) {
  const Texts read = read_list(list, gs::rule_names(), expect_usable_rule);
  RuleList result{{}, read.left_out};
  for (const std::string& text : read.texts) {
    const NamedRule rule = named(text);
    const bool there = std::ranges::any_of(result.rules, [&](const NamedRule& other) {
      return other.lr_given == rule.lr_given && gs::text_of(other.rule) == gs::text_of(rule.rule);
    });
    if (!there) result.rules.push_back(rule);
  }
  tell_apart(result.rules);
  return result;
}

double lr_of(const gs::Rule& rule) {
  return std::visit([](const auto& r) { return r.lr; }, rule);
}

gs::Rule with_lr(gs::Rule rule, double lr) {
  std::visit([lr](auto& r) { r.lr = lr; }, rule);
  return rule;
}

Texts read_aggregators(std::string_view list) {
  return read_list(list, gs::aggregator_names(), expect_usable_aggregator);
}

const std::string& reference_of(const std::vector<std::string>& aggregators) {
  const auto sum = std::ranges::find(aggregators, "Sum");
  return sum == aggregators.end() ? aggregators.front() : *sum;
}

gs::Aggregator with_seed(gs::Aggregator aggregator, std::uint64_t seed) {
  std::visit(
      [seed](auto& a) {
        if constexpr (requires { a.seed; }) a.seed = seed;
      },
      aggregator);
  return aggregator;
}

}  // namespace two_digits
