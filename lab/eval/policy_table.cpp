// SPDX-License-Identifier: Apache-2.0
#include "policy_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "cli/budget.hpp"
#include "eval/baselines/scorers.hpp"

namespace hashevict::lab {
namespace {

using baselines::Scorer;

template <class Type>
std::unique_ptr<Scorer> make(int32_t capacity) {
  if constexpr (std::is_constructible_v<Type, int32_t>) {
    return std::make_unique<Type>(capacity);
  } else {
    return std::make_unique<Type>();
  }
}

template <Policy kPolicy, int32_t kBits = 16>
void configure(Config& config) {
  config.rule.policy = kPolicy;
  config.rule.hash_bits = kBits;
}

template <Preset kPreset>
void configure(Config& config) {
  config.rule = Rule{kPreset};
}

constexpr int32_t kPosition = 4;         // bytes: the position of a slot's token
constexpr int32_t kSum = kPosition + 4;  // and one fp32 number
constexpr int32_t kAny = std::numeric_limits<int32_t>::max();

constexpr auto kLibrary = PolicyGroup::library;
constexpr auto kAttention = PolicyGroup::attention;
constexpr auto kExact = PolicyGroup::exact;

constexpr PolicyRow of_demo(std::string_view name, PolicyGroup group = kLibrary) {
  const cli::DemoPolicy& policy = cli::demo_policy(name);
  return {.name = policy.name, .group = group, .description = policy.description, .configure = policy.configure};
}

constexpr auto kTable = std::to_array<PolicyRow>({
    of_demo(cli::kFull, PolicyGroup::reference),

    of_demo("random"),
    of_demo("window"),
    of_demo("paper"),
    {.name = "authors",
     .group = kLibrary,
     .description = "its authors' code: farthest from the newest key",
     .configure = configure<Preset::authors>},
    of_demo("superseded"),
    of_demo("recall"),
    {.name = "recall_even",
     .group = kLibrary,
     .description = "recall, the same capacity in all layers",
     .configure = configure<Preset::recall>,
     .even = true},
    {.name = "mean",
     .group = kLibrary,
     .description = "closest to the mean key, 64 bits",
     .configure = configure<Policy::mean, 64>},

    {.name = "h2o",
     .group = kAttention,
     .description = "H2O: least attention in sum, half of the budget recent",
     .make_scorer = make<baselines::H2o>,
     .window = kAny,
     .largest_window = 0.5,
     .extra_slot_bytes = kSum},
    {.name = "scissorhands",
     .group = kAttention,
     .description = "Scissorhands: most often below average attention",
     .make_scorer = make<baselines::Scissorhands>,
     .window = 10,
     .extra_slot_bytes = kSum},
    {.name = "tova",
     .group = kAttention,
     .description = "TOVA: least attention of the last query, mean over the layer's heads",
     .make_scorer = make<baselines::Tova>,
     .extra_slot_bytes = kPosition},
    {.name = "snapkv",
     .group = kAttention,
     .description = "SnapKV: least attention of the last 32 queries, pooled",
     .make_scorer = make<baselines::SnapKv>,
     .window = baselines::SnapKv::kWindow,
     .largest_window = 0.5,
     .extra_slot_bytes = kSum},
    {.name = "fastgen",
     .group = kAttention,
     .description = "FastGen: special, punctuation, frequent, local, as each head needs",
     .make_scorer = make<baselines::FastGen>,
     .window = kAny,
     .largest_window = baselines::FastGen::kLocal,
     .extra_slot_bytes = kSum},
    {.name = "rkv",
     .group = kAttention,
     .description = "R-KV: attention of the last 8 queries less redundancy",
     .make_scorer = make<baselines::RKv>,
     .window = baselines::RKv::kWindow,
     .largest_window = 0.5,
     .extra_slot_bytes = kSum},

    {.name = "key_norm",
     .group = kExact,
     .description = "largest key norm",
     .make_scorer = make<baselines::KeyNorm>,
     .num_sink_tokens = 4,
     .window = 10,
     .extra_slot_bytes = kSum},
    {.name = "keydiff",
     .group = kExact,
     .description = "KeyDiff: largest cosine to the mean key",
     .make_scorer = make<baselines::KeyDiff>,
     .num_sink_tokens = 4,
     .window = 10,
     .extra_slot_bytes = kPosition,
     .extra_element_bytes = sizeof(float)},
});

}  // namespace

std::string_view name(PolicyGroup group) {
  static constexpr std::array<std::string_view, 4> kNames = {"reference", "library", "attention", "exact"};
  return kNames.at(static_cast<size_t>(group));
}

std::span<const PolicyRow> policy_table() {
  return kTable;
}

Config PolicyRow::config(Config shape) const {
  const uint64_t seed = shape.rule.seed;
  shape.rule = Rule{Preset::paper};
  configure(shape);
  shape.rule.seed = seed;  // presets set every field of a rule
  return shape;
}

int32_t PolicyRow::recent_window(int32_t capacity) const {
  return static_cast<int32_t>(std::min<int64_t>(window, cli::Decimal(largest_window).of(capacity)));
}

const PolicyRow& policy_row(std::string_view name) {
  std::string names;
  for (const PolicyRow& row : kTable) {
    if (row.name == name) return row;
    names.append(names.empty() ? "" : ", ").append(row.name);
  }
  throw Error(Status::invalid_argument, fmt::format("'{}' is not a policy; expected one of {}", name, names));
}

std::vector<const PolicyRow*> parse_policies(std::string_view list) {
  std::vector<const PolicyRow*> policies;
  const auto add = [&](const PolicyRow& row) {
    if (std::find(policies.begin(), policies.end(), &row) == policies.end()) policies.push_back(&row);
  };
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view item = list.substr(begin, end - begin);
    const auto is_meant = [&](const PolicyRow& row) { return item == "all" || item == name(row.group); };
    if (std::none_of(kTable.begin(), kTable.end(), is_meant)) add(policy_row(item));
    for (const PolicyRow& row : kTable) {
      if (is_meant(row)) add(row);
    }
    begin = end + 1;
  }
  return policies;
}

cli::KeptBytes bytes_of(const PolicyRow& row, const Config& shape) {
  cli::KeptBytes bytes = cli::KeptBytes::of_full(shape);
  if (row.is_full()) return bytes;
  if (row.configure != nullptr) return cli::KeptBytes::of_rule(row.config(shape));
  bytes.slot += row.extra_slot_bytes;
  bytes.head += int64_t{row.extra_element_bytes} * shape.shape.head_dim;
  return bytes;
}

int32_t slots_for(const PolicyRow& row, double budget, int64_t num_tokens, const Config& shape) {
  const cli::KeptBytes bytes = bytes_of(row, shape);
  const int64_t room = cli::Decimal(budget).of(num_tokens * cli::KeptBytes::of_full(shape).slot) - bytes.head;
  if (room < bytes.slot) {
    throw Error(Status::invalid_argument, fmt::format("a budget of {} leaves no slot", budget));
  }
  return static_cast<int32_t>(room / bytes.slot);
}

}  // namespace hashevict::lab
