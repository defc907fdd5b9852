// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <hashevict/cache.hpp>
#include <hashevict/status.hpp>
#include <string>
#include <string_view>
#include <utility>

namespace hashevict::cli {

/// The spelling of an enum's values on the command line and in reports, in order of preference.
template <class Enum>
struct Names;

template <>
struct Names<Policy> {
  static constexpr std::string_view kWhat = "policy";
  static constexpr std::array<std::pair<std::string_view, Policy>, 7> kTable = {{
      {"hash", Policy::hash},
      {"window", Policy::window},
      {"random", Policy::random},
      {"mean", Policy::mean},
      {"votes", Policy::votes},
      {"superseded", Policy::superseded},
      {"importance", Policy::importance},
  }};
};

template <>
struct Names<Layout> {
  static constexpr std::string_view kWhat = "layout";
  static constexpr std::array<std::pair<std::string_view, Layout>, 4> kTable = {{
      {"head_major", Layout::head_major},
      {"slot_major", Layout::slot_major},
      {"paged", Layout::paged},
      {"paged_per_head", Layout::paged_per_head},
  }};
};

/// The storage types of keys and values.
template <>
struct Names<DType> {
  static constexpr std::string_view kWhat = "dtype";
  static constexpr std::array<std::pair<std::string_view, DType>, 3> kTable = {{
      {"float32", DType::float32},
      {"float16", DType::float16},
      {"bfloat16", DType::bfloat16},
  }};
};

template <>
struct Names<HashSource> {
  static constexpr std::string_view kWhat = "hash source";
  static constexpr std::array<std::pair<std::string_view, HashSource>, 2> kTable = {{
      {"query", HashSource::query},
      {"key", HashSource::key},
  }};
};

template <>
struct Names<Tie> {
  static constexpr std::string_view kWhat = "tie rule";
  static constexpr std::array<std::pair<std::string_view, Tie>, 2> kTable = {{
      {"oldest", Tie::oldest},
      {"lowest-slot", Tie::lowest_slot},
  }};
};

template <>
struct Names<Centering> {
  static constexpr std::string_view kWhat = "centering";
  static constexpr std::array<std::pair<std::string_view, Centering>, 3> kTable = {{
      {"none", Centering::none},
      {"prompt", Centering::prompt},
      {"fixed", Centering::fixed},
  }};
};

template <>
struct Names<Preset> {
  static constexpr std::string_view kWhat = "preset";
  static constexpr std::array<std::pair<std::string_view, Preset>, 4> kTable = {{
      {"paper", Preset::paper},
      {"authors", Preset::authors},
      {"superseded", Preset::superseded},
      {"recall", Preset::recall},
  }};
};

template <>
struct Names<PrefillMode> {
  static constexpr std::string_view kWhat = "prefill mode";
  static constexpr std::array<std::pair<std::string_view, PrefillMode>, 3> kTable = {{
      {"replay", PrefillMode::replay},
      {"window", PrefillMode::window},
      {"recent", PrefillMode::recent},
  }};
};

template <>
struct Names<Backend> {
  static constexpr std::string_view kWhat = "backend";
  static constexpr std::array<std::pair<std::string_view, Backend>, 3> kTable = {{
      {"auto", Backend::automatic},
      {"cpu", Backend::cpu},
      {"cuda", Backend::cuda},
  }};
};

/// All names of an enum, as `a|b|c`.
template <class Enum>
std::string all_names(std::string_view separator = "|") {
  std::string joined;
  for (const auto& [text, value] : Names<Enum>::kTable) joined.append(joined.empty() ? "" : separator).append(text);
  return joined;
}

/// @throws Error invalid_argument for a name outside the table
template <class Enum>
Enum parse_name(std::string_view name) {
  for (const auto& [text, value] : Names<Enum>::kTable) {
    if (text == name) return value;
  }
  std::string message(name);
  message.append(" is not a ").append(Names<Enum>::kWhat).append("; expected one of ").append(all_names<Enum>(", "));
  throw Error(Status::invalid_argument, message);
}

}  // namespace hashevict::cli
