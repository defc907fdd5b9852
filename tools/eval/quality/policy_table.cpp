// SPDX-License-Identifier: Apache-2.0
#include "policy_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "eval/baselines/attention_scorers.hpp"
#include "eval/baselines/key_scorers.hpp"
#include "eval/budget.hpp"
#include "eval/votes.hpp"

namespace hashevict::eval {
namespace {

using baselines::Scorer;

constexpr double kEnds = 0.1;  // of the capacity, at each end

template <class Type>
std::unique_ptr<Scorer> make(const ScorerInputs& /*inputs*/) {
  return std::make_unique<Type>();
}

template <class Type>
std::unique_ptr<Scorer> make_for_capacity(const ScorerInputs& inputs) {
  return std::make_unique<Type>(inputs.capacity);
}

constexpr PolicyRow library(std::string_view name, std::string_view description, void (*configure)(Config&)) {
  PolicyRow row{name, PolicyGroup::library, description};
  row.configure = configure;
  return row;
}

// Gives all layers the same capacity, whatever was learned.
constexpr PolicyRow even(PolicyRow row) {
  row.even = true;
  return row;
}

// Reduces a prompt by the codes of its last queries.
constexpr PolicyRow question(std::string_view name, std::string_view description, void (*configure)(Config&)) {
  PolicyRow row = library(name, description, configure);
  row.prefill = PrefillMode::window;
  row.prompts_only = true;
  return row;
}

constexpr PolicyRow scored(std::string_view name, PolicyGroup group, std::string_view description,
                           std::unique_ptr<Scorer> (*make_scorer)(const ScorerInputs&), Zones zones,
                           int32_t extra_slot_bytes) {
  PolicyRow row{name, group, description};
  row.make_scorer = make_scorer;
  row.zones = zones;
  row.extra_slot_bytes = extra_slot_bytes;
  return row;
}

constexpr PolicyRow with_mean(PolicyRow row) {
  row.extra_head_dim_bytes = sizeof(float);
  return row;
}

std::unique_ptr<Scorer> oracle_sum(const ScorerInputs& inputs) {
  return std::make_unique<baselines::Oracle>(*inputs.future_sum, inputs.layer, inputs.kv_head);
}
std::unique_ptr<Scorer> oracle_largest(const ScorerInputs& inputs) {
  return std::make_unique<baselines::Oracle>(*inputs.future_largest, inputs.layer, inputs.kv_head);
}

constexpr int32_t kPosition = 4;         // bytes: where a slot's token stood
constexpr int32_t kSum = kPosition + 4;  // and one fp32 number
constexpr Zones kNone{0, 0, 0.0};
constexpr Zones kPaper{4, 10, 0.0};
constexpr Zones kHalf{0, 0, 0.5};
constexpr Zones kHalfAndSinks{4, 0, 0.5};
constexpr Zones kSnapKv{0, baselines::SnapKv::kWindow, 0.5};
constexpr Zones kRKv{0, baselines::RKv::kWindow, 0.5};
constexpr Zones kFastGen{0, 0, baselines::FastGen::kLocal};
constexpr Zones kScissorhands{0, 10, 0.0};

constexpr auto kReference = PolicyGroup::reference;
constexpr auto kAttention = PolicyGroup::attention;
constexpr auto kExact = PolicyGroup::exact;

constexpr PolicyRow full_row() {
  PolicyRow row{kFull, kReference, "every token kept"};
  row.configure = [](Config& config) { config.policy = Policy::window; };
  return row;
}

constexpr auto kTable = std::to_array<PolicyRow>({
    full_row(),
    scored("oracle_sum", kReference, "evicts what the future attends to least in sum", oracle_sum, kNone, 0),
    scored("oracle_largest", kReference, "evicts what no future query attends to much", oracle_largest, kNone, 0),

    library("random", "evicts at random", [](Config& c) { c.policy = Policy::random; }),
    library("random_pinned", "the same, a prompt given at once only when nothing else is left",
            [](Config& c) {
              c.policy = Policy::random;
              c.pin_prompt = true;
            }),
    library("window", "sinks and the most recent", [](Config& c) { c.policy = Policy::window; }),
    library("paper", "HashEvict: farthest from the current queries, 16 bits",
            [](Config& c) { c.apply(Preset::paper); }),
    library("authors", "its authors' code: farthest from the newest key", [](Config& c) { c.apply(Preset::authors); }),
    library("superseded", "closest to a later key, 64 bits, half of the budget recent",
            [](Config& c) { c.apply(Preset::superseded); }),
    library("recall",
            "fewest learned votes that a later query will want it, 32 bits, a fifth recent, learned capacities",
            [](Config& c) { c.apply(Preset::recall); }),
    even(library("recall_even", "recall, the same capacity in all layers", [](Config& c) { c.apply(Preset::recall); })),
    library("key_norm", "largest key norm", [](Config& c) { c.policy = Policy::key_norm; }),
    library("mean", "closest to the mean key, 64 bits",
            [](Config& c) {
              c.policy = Policy::mean;
              c.hash_bits = 64;
            }),
    library("majority", "closest to the majority of codes, 64 bits",
            [](Config& c) {
              c.policy = Policy::majority;
              c.hash_bits = 64;
            }),
    question("paper_question", "prompts: farthest from the last 32 queries, 16 bits; then as paper",
             [](Config& c) { c.apply(Preset::paper); }),
    question("superseded_question", "prompts: farthest from the last 32 queries, 64 bits; then as superseded",
             [](Config& c) { c.apply(Preset::superseded); }),

    scored("h2o", kAttention, "H2O: least attention in sum, half of the budget recent", make<baselines::H2o>, kHalf,
           kSum),
    scored("scissorhands", kAttention, "Scissorhands: most often below average attention",
           make<baselines::Scissorhands>, kScissorhands, kSum),
    scored("tova", kAttention, "TOVA: least attention of the last query, mean over the layer's heads",
           make<baselines::Tova>, kNone, kPosition),
    scored("snapkv", kAttention, "SnapKV: least attention of the last 32 queries, pooled", make<baselines::SnapKv>,
           kSnapKv, kSum),
    scored("fastgen", kAttention, "FastGen: special, punctuation, frequent, local, as each head needs",
           make_for_capacity<baselines::FastGen>, kFastGen, kSum),
    scored("rkv", kAttention, "R-KV: attention of the last 8 queries less redundancy",
           make_for_capacity<baselines::RKv>, kRKv, kSum),

    with_mean(scored("keydiff", kExact, "KeyDiff: largest cosine to the mean key", make<baselines::KeyDiff>, kPaper,
                     kPosition)),
    scored("exact_angle", kExact, "paper's rule with exact angles", make<baselines::ExactAngle>, kPaper, kPosition),
    scored("exact_product", kExact, "least product with the current queries", make<baselines::ExactProduct>, kPaper,
           kPosition),
    scored("exact_superseded", kExact, "superseded with exact angles", make<baselines::ExactSuperseded>, kHalfAndSinks,
           kSum),
});

[[noreturn]] void refuse(const std::string& message) {
  throw Error(Status::invalid_argument, message);
}

bool hashes(const Config& config) {
  return config.policy != Policy::window && config.policy != Policy::random && config.policy != Policy::key_norm;
}

std::string all_names() {
  std::string names;
  for (const PolicyRow& row : kTable) names.append(names.empty() ? "" : ", ").append(row.name);
  return names;
}

// Takes `-<text>` off the end of a name.
bool take_suffix(std::string_view& name, std::string_view suffix) {
  if (!name.ends_with(suffix)) return false;
  name.remove_suffix(suffix.size());
  return true;
}

std::vector<PolicyChoice> choices_of(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, PolicyGroup>, 4> kGroups = {{
      {"reference", PolicyGroup::reference},
      {"library", PolicyGroup::library},
      {"attention", PolicyGroup::attention},
      {"exact", PolicyGroup::exact},
  }};
  const auto group = std::find_if(kGroups.begin(), kGroups.end(), [&](const auto& item) { return item.first == name; });
  if (group == kGroups.end() && name != "all") return {parse_policy(name)};
  std::vector<PolicyChoice> choices;
  for (const PolicyRow& row : kTable) {
    if (name == "all" || row.group == group->second) choices.push_back({&row});
  }
  return choices;
}

}  // namespace

std::span<const PolicyRow> policy_table() {
  return kTable;
}

bool PolicyChoice::is_full() const {
  return row->name == kFull;
}

std::string PolicyChoice::name() const {
  std::string name(row->name);
  if (bits > 0) name.append("-").append(std::to_string(bits));
  if (ends) name += "-ends";
  return name;
}

Config PolicyChoice::config(Config shape) const {
  shape.apply(Preset::paper);
  row->configure(shape);
  if (bits > 0) shape.hash_bits = bits;
  if (ends) shape.sink_fraction = shape.recent_fraction = static_cast<float>(kEnds);
  return shape;
}

Zones PolicyChoice::zones(int32_t capacity) const {
  Zones zones = row->zones;
  if (ends) zones = {static_cast<int32_t>(kEnds * capacity), static_cast<int32_t>(kEnds * capacity), 0.0};
  const auto share = static_cast<int32_t>(zones.recent_fraction * capacity);
  if (zones.recent_fraction > 0) {
    zones.recent_window = zones.recent_window > 0 ? std::min(zones.recent_window, share) : share;
  }
  return zones;
}

PolicyChoice parse_policy(std::string_view name) {
  PolicyChoice choice;
  std::string_view rest = name;
  choice.ends = take_suffix(rest, "-ends");
  if (const size_t dash = rest.rfind('-'); dash != std::string_view::npos) {
    const std::string_view digits = rest.substr(dash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), choice.bits);
    constexpr std::array kBits = {8, 16, 32, 64, 128};
    if (error != std::errc{} || end != digits.data() + digits.size() ||
        std::find(kBits.begin(), kBits.end(), choice.bits) == kBits.end()) {
      refuse(fmt::format("'{}': after the policy's name, expected -8, -16, -32, -64 or -128 and -ends", name));
    }
    rest = rest.substr(0, dash);
  }
  for (const PolicyRow& row : kTable) {
    if (row.name == rest) choice.row = &row;
  }
  if (choice.row == nullptr) refuse(fmt::format("'{}' is not a policy; expected one of {}", name, all_names()));
  if (choice.bits > 0 && (choice.row->configure == nullptr || !hashes(choice.config(Config{})))) {
    refuse(fmt::format("'{}': {} hashes nothing", name, rest));
  }
  if (choice.bits > 0 && takes_votes(choice.config(Config{}))) {
    refuse(fmt::format("'{}': {} was learned for the bits that it has", name, rest));
  }
  if (choice.ends && choice.row->group == PolicyGroup::reference) {
    refuse(fmt::format("'{}': {} needs no protection", name, rest));
  }
  return choice;
}

std::vector<PolicyChoice> parse_policies(std::string_view list) {
  std::vector<PolicyChoice> policies;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    for (const PolicyChoice& choice : choices_of(list.substr(begin, end - begin))) {
      const bool known = std::any_of(policies.begin(), policies.end(),
                                     [&](const PolicyChoice& other) { return other.name() == choice.name(); });
      if (!known) policies.push_back(choice);
    }
    begin = end + 1;
  }
  return policies;
}

ByteModel ByteModel::of(const PolicyChoice& choice, const Config& shape) {
  constexpr int64_t kElement = 2;  // bfloat16
  ByteModel bytes{2 * kElement * shape.head_dim, 0};
  if (choice.is_full()) return bytes;
  if (choice.row->configure == nullptr) {
    bytes.slot += choice.row->extra_slot_bytes;
    bytes.head += int64_t{choice.row->extra_head_dim_bytes} * shape.head_dim;
    return bytes;
  }
  const Config config = choice.config(shape);
  bytes.slot += kPosition;
  if (hashes(config)) bytes.slot += config.hash_bits / 8;
  if (config.policy == Policy::superseded) bytes.slot += 1;
  if (config.policy == Policy::key_norm || config.score_decay_shift > 0) bytes.slot += 4;
  if (config.policy == Policy::mean) bytes.head += int64_t{4} * config.head_dim;
  if (config.policy == Policy::majority) bytes.head += int64_t{4} * config.hash_bits;
  return bytes;
}

uint64_t ByteModel::total(const Config& config) const {
  int64_t of_a_head = head * config.num_layers;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) of_a_head += slot * layer_capacity(config, layer);
  return static_cast<uint64_t>(of_a_head * config.num_kv_heads);
}

int32_t ByteModel::slots(double budget, int64_t num_tokens, const Config& shape) const {
  const ByteModel full = of({&kTable.front()}, shape);
  // A millionth, so that 0.7 of 10 tokens is 7.
  const double room = budget * static_cast<double>(num_tokens * full.slot) - static_cast<double>(head);
  const auto slots = static_cast<int32_t>(room / static_cast<double>(slot) + 1e-6);
  if (slots < 1) refuse(fmt::format("a budget of {} leaves no slot", budget));
  return slots;
}

}  // namespace hashevict::eval
