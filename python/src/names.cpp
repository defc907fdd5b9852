// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string_view>
#include <utility>

#include "values.hpp"

namespace hashevict::python {
namespace {

template <class Enum>
struct Names;

template <>
struct Names<Backend> {
  static constexpr std::array<std::pair<const char*, Backend>, 3> kTable = {{
      {"auto", Backend::automatic},
      {"cpu", Backend::cpu},
      {"cuda", Backend::cuda},
  }};
};

template <>
struct Names<Policy> {
  static constexpr std::array<std::pair<const char*, Policy>, 7> kTable = {{
      {"hash", Policy::hash},
      {"window", Policy::window},
      {"random", Policy::random},
      {"superseded", Policy::superseded},
      {"mean", Policy::mean},
      {"votes", Policy::votes},
      {"importance", Policy::importance},
  }};
};

template <>
struct Names<HashSource> {
  static constexpr std::array<std::pair<const char*, HashSource>, 2> kTable = {{
      {"query", HashSource::query},
      {"key", HashSource::key},
  }};
};

template <>
struct Names<ImportanceSource> {
  static constexpr std::array<std::pair<const char*, ImportanceSource>, 2> kTable = {{
      {"given", ImportanceSource::given},
      {"key", ImportanceSource::key},
  }};
};

template <>
struct Names<Tie> {
  static constexpr std::array<std::pair<const char*, Tie>, 2> kTable = {{
      {"oldest", Tie::oldest},
      {"lowest_slot", Tie::lowest_slot},
  }};
};

template <>
struct Names<Centering> {
  static constexpr std::array<std::pair<const char*, Centering>, 3> kTable = {{
      {"none", Centering::none},
      {"prompt", Centering::prompt},
      {"fixed", Centering::fixed},
  }};
};

template <>
struct Names<ProjectionKind> {
  static constexpr std::array<std::pair<const char*, ProjectionKind>, 3> kTable = {{
      {"gaussian", ProjectionKind::gaussian},
      {"orthogonal", ProjectionKind::orthogonal},
      {"learned", ProjectionKind::learned},
  }};
};

template <>
struct Names<Layout> {
  static constexpr std::array<std::pair<const char*, Layout>, 4> kTable = {{
      {"head_major", Layout::head_major},
      {"slot_major", Layout::slot_major},
      {"paged", Layout::paged},
      {"paged_per_head", Layout::paged_per_head},
  }};
};

template <>
struct Names<Preset> {
  static constexpr std::array<std::pair<const char*, Preset>, 4> kTable = {{
      {"paper", Preset::paper},
      {"authors", Preset::authors},
      {"superseded", Preset::superseded},
      {"recall", Preset::recall},
  }};
};

template <>
struct Names<PrefillMode> {
  static constexpr std::array<std::pair<const char*, PrefillMode>, 3> kTable = {{
      {"replay", PrefillMode::replay},
      {"window", PrefillMode::window},
      {"recent", PrefillMode::recent},
  }};
};

template <>
struct Names<PrefillAttention> {
  static constexpr std::array<std::pair<const char*, PrefillAttention>, 2> kTable = {{
      {"streamed", PrefillAttention::streamed},
      {"full", PrefillAttention::full},
  }};
};

template <>
struct Names<AttendQueries> {
  static constexpr std::array<std::pair<const char*, AttendQueries>, 2> kTable = {{
      {"last", AttendQueries::last},
      {"after", AttendQueries::after},
  }};
};

template <>
struct Names<EncodeAs> {
  static constexpr std::array<std::pair<const char*, EncodeAs>, 2> kTable = {{
      {"keys", EncodeAs::keys},
      {"queries", EncodeAs::queries},
  }};
};

/// The storage types of keys and values.
template <>
struct Names<DType> {
  static constexpr std::array<std::pair<const char*, DType>, 3> kTable = {{
      {"float32", DType::float32},
      {"float16", DType::float16},
      {"bfloat16", DType::bfloat16},
  }};
};

template <class Enum>
nb::list names_of() {
  nb::list names;
  for (const auto& [text, value] : Names<Enum>::kTable) names.append(text);
  return names;
}

}  // namespace

template <class Enum>
Enum to_enum(const std::string& name, nb::handle value) {
  std::string expected;
  const char* given = PyUnicode_Check(value.ptr()) ? PyUnicode_AsUTF8(value.ptr()) : nullptr;
  for (const auto& [text, number] : Names<Enum>::kTable) {
    if (given != nullptr && std::string_view{given} == text) return number;
    expected += (expected.empty() ? "" : ", ") + std::string{text};
  }
  PyErr_Clear();
  throw Error{Status::invalid_argument, name + " = " + shown(value) + ": expected one of " + expected};
}

template <class Enum>
const char* name_of(Enum value) {
  for (const auto& [text, number] : Names<Enum>::kTable) {
    if (number == value) return text;
  }
  return "unknown";
}

#define HASHEVICT_FOR_NAMED(Enum)                              \
  template Enum to_enum<Enum>(const std::string&, nb::handle); \
  template const char* name_of<Enum>(Enum);
HASHEVICT_FOR_NAMED(Backend)
HASHEVICT_FOR_NAMED(Policy)
HASHEVICT_FOR_NAMED(HashSource)
HASHEVICT_FOR_NAMED(ImportanceSource)
HASHEVICT_FOR_NAMED(Tie)
HASHEVICT_FOR_NAMED(Centering)
HASHEVICT_FOR_NAMED(ProjectionKind)
HASHEVICT_FOR_NAMED(Layout)
HASHEVICT_FOR_NAMED(Preset)
HASHEVICT_FOR_NAMED(PrefillMode)
HASHEVICT_FOR_NAMED(EncodeAs)
HASHEVICT_FOR_NAMED(PrefillAttention)
HASHEVICT_FOR_NAMED(AttendQueries)
HASHEVICT_FOR_NAMED(DType)

nb::dict all_names() {
  nb::dict names;
  names["backend"] = names_of<Backend>();
  names["policy"] = names_of<Policy>();
  names["hash_source"] = names_of<HashSource>();
  names["importance_source"] = names_of<ImportanceSource>();
  names["tie"] = names_of<Tie>();
  names["centering"] = names_of<Centering>();
  names["projection_kind"] = names_of<ProjectionKind>();
  names["layout"] = names_of<Layout>();
  names["preset"] = names_of<Preset>();
  names["prefill_mode"] = names_of<PrefillMode>();
  names["prefill_attention"] = names_of<PrefillAttention>();
  names["attend_queries"] = names_of<AttendQueries>();
  names["encode_as"] = names_of<EncodeAs>();
  names["dtype"] = names_of<DType>();
  return names;
}

}  // namespace hashevict::python
