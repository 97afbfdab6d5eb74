// A variant of structs with options as text: "Name(option=value, ...)". Shared by aggregators, rules and
// schedules.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "gramstep/aggregators/common.hpp"
#include "gramstep/error.hpp"

namespace gramstep::host {

inline bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/// A text and how far it has been read.
class Reader {
 public:
  /// `kind`: what the text should name.
  Reader(const char* kind, std::string_view text) : kind_(kind), text_(text) {}

  [[noreturn]] void fail(const std::string& expected) const {
    throw InvalidArgument(std::string(kind_) + ": got \"" + std::string(text_) + "\", expected " + expected +
                          " at character " + std::to_string(at_ + 1));
  }

  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect_character(char c) {
    if (!take(c)) fail(std::string("'") + c + "'");
  }

  /// What comes before the next delimiter or space.
  std::string_view word(const char* what) {
    skip_space();
    const std::size_t first = at_;
    constexpr std::string_view delimiters = "()[],=";
    while (at_ < text_.size() && !is_space(text_[at_]) &&
           delimiters.find(text_[at_]) == std::string_view::npos) {
      ++at_;
    }
    if (at_ == first) fail(what);
    return text_.substr(first, at_ - first);
  }

  template <class Number>
  Number number(const char* what) {
    const std::string_view digits = word(what);
    Number value{};
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc() && end == digits.data() + digits.size()) return value;
    at_ -= digits.size();
    fail(what);
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  const char* kind_;
  std::string_view text_;
  std::size_t at_ = 0;
};

inline void read(Reader& reader, double& value) { value = reader.number<double>("a number"); }
inline void read(Reader& reader, int& value) { value = reader.number<int>("an integer"); }
inline void read(Reader& reader, std::int64_t& value) {
  value = reader.number<std::int64_t>("an integer");
}
inline void read(Reader& reader, std::uint64_t& value) {
  value = reader.number<std::uint64_t>("an integer >= 0");
}
inline void read(Reader& reader, bool& value) {
  const std::string_view word = reader.word("true or false");
  if (word != "true" && word != "false") reader.fail("true or false before this");
  value = word == "true";
}
inline void read(Reader& reader, TaskValues& value) {
  std::vector<double> values;
  reader.expect_character('[');
  if (!reader.take(']')) {
    do values.push_back(reader.number<double>("a number"));
    while (reader.take(','));
    reader.expect_character(']');
  }
  value = TaskValues(values);
}
template <class Enum>
  requires std::is_enum_v<Enum>
void read(Reader& reader, Enum& value) {
  constexpr auto names = names_of(Enum{});
  const std::string_view word = reader.word("the name of a value");
  std::string all;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i] == word) {
      value = static_cast<Enum>(i);
      return;
    }
    all += (i == 0 ? "" : ", ") + std::string(names[i]);
  }
  reader.fail("one of " + all + " before this");
}

inline std::string written(double value) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}
inline std::string written(int value) { return std::to_string(value); }
inline std::string written(std::int64_t value) { return std::to_string(value); }
inline std::string written(std::uint64_t value) { return std::to_string(value); }
inline std::string written(bool value) { return value ? "true" : "false"; }
inline std::string written(const TaskValues& values) {
  std::string text = "[";
  for (int i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ", ") + written(values[i]);
  return text + "]";
}
template <class Enum>
  requires std::is_enum_v<Enum>
std::string written(Enum value) {
  return std::string(names_of(value)[static_cast<std::size_t>(value)]);
}

/// Calls function(held) for a default-made one of every alternative.
template <class Variant, class Function, std::size_t... Index>
void for_all(const Function& function, std::index_sequence<Index...>) {
  (function(std::variant_alternative_t<Index, Variant>{}), ...);
}
template <class Variant, class Function>
void for_all(const Function& function) {
  for_all<Variant>(function, std::make_index_sequence<std::variant_size_v<Variant>>{});
}

template <class Variant>
Variant named(Reader& reader, std::string_view name) {
  Variant result;
  bool found = false;
  std::string all;
  for_all<Variant>([&](const auto& each) {
    if (each.name == name) {
      result = each;
      found = true;
    }
    all += (all.empty() ? "" : ", ") + std::string(each.name);
  });
  if (!found) reader.fail("one of " + all + " before this");
  return result;
}

/// Reads one option that is not among those that were given, and adds it to them.
template <class A>
void read_option(Reader& reader, A& aggregator, std::vector<std::string_view>& given) {
  const std::string_view name = reader.word("the name of an option");
  if (std::ranges::find(given, name) != given.end()) {
    reader.fail("each option once, but option " + std::string(name) + " of " +
                std::string(A::name) + " comes twice before this");
  }
  given.push_back(name);
  bool found = false;
  std::string all;
  A::options(aggregator, [&](std::string_view option, auto& value) {
    all += (all.empty() ? "" : ", ") + std::string(option);
    if (option != name) return;
    found = true;
    reader.expect_character('=');
    read(reader, value);
  });
  if (!found) reader.fail("an option of " + std::string(A::name) + " (" + all + ") before this");
}

/// What a text names; `kind` is "aggregator", ... Throws InvalidArgument that says where it cannot be
/// read.
template <class Variant>
Variant read_text(const char* kind, std::string_view text) {
  Reader reader(kind, text);
  const std::string what = std::string("the name of ") + (kind[0] == 'a' ? "an " : "a ") + kind;
  Variant result = named<Variant>(reader, reader.word(what.c_str()));
  if (reader.take('(') && !reader.take(')')) {
    std::vector<std::string_view> given;
    do std::visit([&](auto& held) { read_option(reader, held, given); }, result);
    while (reader.take(','));
    reader.expect_character(')');
  }
  if (!reader.at_end()) reader.fail("the end");
  return result;
}

/// Name and all options.
template <class Variant>
std::string written_text(const Variant& variant) {
  return std::visit(
      [](const auto& held) {
        std::string options;
        held.options(held, [&](std::string_view option, const auto& value) {
          options += (options.empty() ? "" : ", ") + std::string(option) + "=" + written(value);
        });
        return std::string(held.name) + (options.empty() ? "" : "(" + options + ")");
      },
      variant);
}

/// The names of all alternatives.
template <class Variant>
std::vector<std::string_view> all_names() {
  std::vector<std::string_view> names;
  for_all<Variant>([&](const auto& each) { names.push_back(each.name); });
  return names;
}

/// The names of the options of what a variant holds.
template <class Variant>
std::vector<std::string_view> names_of_options(const Variant& variant) {
  std::vector<std::string_view> names;
  std::visit(
      [&](const auto& held) {
        held.options(held, [&](std::string_view option, const auto&) { names.push_back(option); });
      },
      variant);
  return names;
}

}  // namespace gramstep::host
