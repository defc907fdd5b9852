// SPDX-License-Identifier: Apache-2.0
#include "config.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "values.hpp"

namespace hashevict::python {
namespace {

/// A field of `Struct` by its name.
template <class Struct>
struct Field {
  const char* name;
  void (*set)(Struct& object, const std::string& full_name, nb::handle value);
  nb::object (*get)(const Struct& object);
};

template <class Value>
Value from_python(const std::string& name, nb::handle value) {
  if constexpr (std::is_enum_v<Value>) {
    return to_enum<Value>(name, value);
  } else if constexpr (std::is_same_v<Value, float>) {
    return static_cast<float>(to_double(name, value));
  } else if constexpr (std::is_same_v<Value, uint64_t>) {
    return to_uint64(name, value);
  } else if constexpr (std::is_same_v<Value, int64_t>) {
    return to_integer(name, value, INT64_MIN, INT64_MAX);
  } else if constexpr (std::is_same_v<Value, std::vector<int32_t>>) {
    std::vector<int32_t> numbers;
    for (nb::handle element : value) numbers.push_back(to_int32(name, element));
    return numbers;
  } else {
    static_assert(std::is_same_v<Value, int32_t>);
    return to_int32(name, value);
  }
}

template <class Value>
nb::object to_python(const Value& value) {
  if constexpr (std::is_enum_v<Value>) {
    return nb::str(name_of(value));
  } else if constexpr (std::is_same_v<Value, float>) {
    return nb::float_(static_cast<double>(value));
  } else if constexpr (std::is_same_v<Value, std::vector<int32_t>>) {
    nb::list numbers;
    for (const int32_t number : value) numbers.append(number);
    return numbers;
  } else {
    return nb::int_(value);
  }
}

template <auto Member, class Struct>
constexpr Field<Struct> field(const char* name) {
  using Value = std::remove_cvref_t<decltype(std::declval<Struct>().*Member)>;
  return {name,
          [](Struct& object, const std::string& full_name, nb::handle value) {
            object.*Member = from_python<Value>(full_name, value);
          },
          [](const Struct& object) { return to_python<Value>(object.*Member); }};
}

#define HASHEVICT_FIELD(Struct, name) field<&Struct::name, Struct>(#name)

constexpr Field<Shape> kShape[] = {
    HASHEVICT_FIELD(Shape, num_layers),     HASHEVICT_FIELD(Shape, num_sequences), HASHEVICT_FIELD(Shape, num_qo_heads),
    HASHEVICT_FIELD(Shape, num_kv_heads),   HASHEVICT_FIELD(Shape, head_dim),      HASHEVICT_FIELD(Shape, dtype),
    HASHEVICT_FIELD(Shape, kv_head_offset), HASHEVICT_FIELD(Shape, capacity),      HASHEVICT_FIELD(Shape, capacities),
};

constexpr Field<Rule> kRule[] = {
    HASHEVICT_FIELD(Rule, policy),
    HASHEVICT_FIELD(Rule, hash_bits),
    HASHEVICT_FIELD(Rule, hash_source),
    HASHEVICT_FIELD(Rule, tie),
    HASHEVICT_FIELD(Rule, num_sink_tokens),
    HASHEVICT_FIELD(Rule, recent_window),
    HASHEVICT_FIELD(Rule, sink_fraction),
    HASHEVICT_FIELD(Rule, recent_fraction),
    HASHEVICT_FIELD(Rule, pin_prompt),
    HASHEVICT_FIELD(Rule, centering),
    HASHEVICT_FIELD(Rule, projection_kind),
    HASHEVICT_FIELD(Rule, projection_per_head),
    HASHEVICT_FIELD(Rule, seed),
    HASHEVICT_FIELD(Rule, importance_source),
    HASHEVICT_FIELD(Rule, importance_slopes),
};

constexpr Field<Placement> kPlacement[] = {
    HASHEVICT_FIELD(Placement, backend),
    HASHEVICT_FIELD(Placement, device),
    HASHEVICT_FIELD(Placement, layout),
    HASHEVICT_FIELD(Placement, page_size),
};

constexpr Field<Execution> kExecution[] = {
    HASHEVICT_FIELD(Execution, max_batch_tokens),
    HASHEVICT_FIELD(Execution, num_threads),
};

#undef HASHEVICT_FIELD

std::string text_of(nb::handle name) {
  const char* text = PyUnicode_Check(name.ptr()) ? PyUnicode_AsUTF8(name.ptr()) : nullptr;
  PyErr_Clear();
  return text != nullptr ? text : shown(name);
}

/// Sets the fields of `object` that `values` names, but for `skipped`.
template <class Struct>
void set_fields(Struct& object, std::span<const Field<Struct>> fields, const std::string& part, nb::dict values,
                std::string_view skipped = {}) {
  for (const auto& [key, value] : values) {
    const std::string name = text_of(key);
    if (name == skipped) continue;
    const Field<Struct>* found = nullptr;
    for (const Field<Struct>& candidate : fields) {
      if (candidate.name == name) found = &candidate;
    }
    const std::string full_name = part + "." + name;
    if (found == nullptr) throw Error{Status::invalid_argument, full_name + ": there is no such field"};
    found->set(object, full_name, value);
  }
}

template <class Struct>
nb::dict get_fields(const Struct& object, std::span<const Field<Struct>> fields) {
  nb::dict values;
  for (const Field<Struct>& one : fields) values[one.name] = one.get(object);
  return values;
}

Rule to_rule(const std::string& part, nb::dict values) {
  Rule rule;
  if (values.contains("preset")) rule = Rule{to_enum<Preset>(part + ".preset", values["preset"])};
  set_fields<Rule>(rule, kRule, part, values, "preset");
  return rule;
}

nb::dict part_of(nb::dict parts, const char* name) {
  return parts.contains(name) ? nb::cast<nb::dict>(parts[name]) : nb::dict{};
}

}  // namespace

Config to_config(nb::dict parts) {
  Config config;
  set_fields<Shape>(config.shape, kShape, "config.shape", part_of(parts, "shape"));
  config.rule = to_rule("config.rule", part_of(parts, "rule"));
  set_fields<Placement>(config.placement, kPlacement, "config.placement", part_of(parts, "placement"));
  set_fields<Execution>(config.execution, kExecution, "config.execution", part_of(parts, "execution"));
  if (!parts.contains("layer_rules")) return config;
  int32_t layer = 0;
  for (nb::handle rule : parts["layer_rules"]) {
    config.layer_rules.push_back(
        to_rule("config.layer_rules[" + std::to_string(layer++) + "]", nb::cast<nb::dict>(rule)));
  }
  return config;
}

nb::dict from_config(const Config& config) {
  nb::list rules;
  for (const Rule& rule : config.layer_rules) rules.append(get_fields<Rule>(rule, kRule));
  nb::dict parts;
  parts["shape"] = get_fields<Shape>(config.shape, kShape);
  parts["rule"] = get_fields<Rule>(config.rule, kRule);
  parts["layer_rules"] = rules;
  parts["placement"] = get_fields<Placement>(config.placement, kPlacement);
  parts["execution"] = get_fields<Execution>(config.execution, kExecution);
  return parts;
}

}  // namespace hashevict::python
