// Text: how numbers and lists are written for people.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace two_digits {

/// A number with that many digits after the point.
std::string fixed(double value, int digits);

/// A number with that many significant digits.
std::string significant(double value, int digits);

/// As fixed, with a sign before all but 0, and a real minus.
std::string signed_fixed(double value, int digits);

/// "a, b and c".
std::string enumerated(const std::vector<std::string>& words);

/// Characters, not bytes, of UTF-8.
std::size_t length(const std::string& text);

/// The text in lines of at most `width` characters where words allow it; each but the first begins
/// with `indent` spaces.
std::string wrapped(const std::string& text, std::size_t width, std::size_t indent);

}  // namespace two_digits
