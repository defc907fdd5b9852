// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "core/host_device.hpp"
#include "core/philox.hpp"
#include "hashevict/hashevict.h"

/// All eviction rules share one shape (algorithm.md, *Rules*). The victim is the evictable slot with the largest score.
/// The score depends on the distance between the slot's code and a probe, and on a small accumulator per slot. Only the
/// rule itself states its needs; other code reads its RuleFacts or is a template over the rule. A new rule is one
/// struct, its line in HASHEVICT_RULES and its line in rule_kind().
namespace hashevict::core {

/// The code that a rule measures distances to.
enum class Probe {
  none,      ///< no code: the rule uses no distance
  queries,   ///< the group's query codes; their distances are summed
  new_key,   ///< the code of the new key
  mean_key,  ///< the code of the mean of all keys seen, the new one included
  zero       ///< the code of all zeros: the distance is the number of bits set
};

/// The facts about a step that a rule may use besides the slot. Trivially copyable.
struct StepFacts {
  int32_t token_position;  ///< position of the new token
  int32_t hash_bits;
  uint32_t draw;  ///< random_word() of the step and the head; 0 where the rule does not read the seed
};

/// The random word of a step and a head: no state, and no other sequence or head changes it.
/// @param kv_head global index
HASHEVICT_HOST_DEVICE constexpr uint32_t random_word(uint64_t seed, int32_t token_position, int32_t layer,
                                                     int32_t kv_head) {
  constexpr uint32_t kStreamTag = 0x52414E44;  // keeps these numbers apart from the projection's
  return philox4x32_10(
             {static_cast<uint32_t>(token_position), 0, static_cast<uint32_t>(layer), static_cast<uint32_t>(kv_head)},
             static_cast<uint32_t>(seed) ^ kStreamTag, static_cast<uint32_t>(seed >> 32))
      .x;
}

/// A permutation of all words in which each bit of the result depends on each bit of `x`: `lowbias32` of C. Wellons,
/// "Prospecting for hash functions", 2018.
HASHEVICT_HOST_DEVICE constexpr uint32_t mix_bits(uint32_t x) {
  x = (x ^ x >> 16) * 0x7FEB352DU;
  x = (x ^ x >> 15) * 0x846CA68BU;
  return x ^ x >> 16;
}

/// What a score consists of, for scans that compute those of many steps at once.
enum class Scored {
  otherwise,         ///< something that only Rule::score() knows
  distance,          ///< the distance
  equal_bits,        ///< hash_bits minus the distance
  smallest_distance  ///< 255 minus the accumulator, which is the smallest distance so far
};

struct NoAccumulator {};

/// The importance of a key, for rules that take it as their accumulator: each token brings its own, and no later step
/// changes it. Kept in the arrays `importances` and `importance_slopes` instead of `accumulators`.
struct Importance {
  float value;  ///< at the key's own step
  float slope;  ///< change per later token

  /// One fused operation; ages above 2^24 are rounded to fp32.
  [[nodiscard]] HASHEVICT_HOST_DEVICE float at(int32_t age) const {
    return ::fmaf(slope, static_cast<float>(age), value);
  }
};

/// A number that grows with the value and is the same for -0 and +0; 0 if the value is not finite. It looks at bits
/// alone, which no compiler option changes.
HASHEVICT_HOST_DEVICE inline uint32_t order_of(float value) {
  constexpr uint32_t kSign = 0x80000000U;
  uint32_t bits = 0;
  memcpy(&bits, &value, sizeof bits);
  const uint32_t magnitude = bits & ~kSign;
  if (magnitude >= 0x7F800000U) return 0;
  return (bits & kSign) != 0 ? kSign - magnitude : kSign + magnitude;
}

/// Defaults that rules override.
struct RuleDefaults {
  using Accumulator = NoAccumulator;
  /// Whether update() changes accumulators at every step, also while the cache is not yet full. If not, they keep the
  /// value that they started from.
  static constexpr bool kAccumulates = false;
  /// Whether accumulators depend on later keys alone, so that prompt modes without steps can compute them. The probe of
  /// such a rule is the new key.
  static constexpr bool kNeedsNoSteps = false;
  /// Whether scores use the seed apart from the projection: StepFacts::draw.
  static constexpr bool kReadsSeed = false;
  /// Whether the score counts equal bits: the distance from the complement of the probe.
  static constexpr bool kCountsEqualBits = false;
  static constexpr Scored kScored = Scored::otherwise;
  HASHEVICT_HOST_DEVICE static NoAccumulator start() { return {}; }
  HASHEVICT_HOST_DEVICE static NoAccumulator update(NoAccumulator old, uint32_t /*distance*/,
                                                    const StepFacts& /*step*/) {
    return old;
  }
};

/// The paper's rule (queries) and its authors' (new key): evict the farthest.
template <Probe kWhose>
struct Farthest : RuleDefaults {
  static constexpr Probe kProbe = kWhose;
  static constexpr Scored kScored = Scored::distance;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t distance, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return distance;
  }
};

/// Evicts redundancy: the slot closest to the mean of all keys seen.
struct ClosestToMean : RuleDefaults {
  static constexpr Probe kProbe = Probe::mean_key;
  static constexpr bool kCountsEqualBits = true;
  static constexpr Scored kScored = Scored::equal_bits;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t distance, int32_t /*position*/,
                                              const StepFacts& step) {
    return static_cast<uint32_t>(step.hash_bits) - distance;
  }
};

/// Evicts the slot with the fewest bits set. For learned codes: each bit is a vote that a later query will want the
/// key.
struct Votes : RuleDefaults {
  static constexpr Probe kProbe = Probe::zero;
  static constexpr bool kCountsEqualBits = true;
  static constexpr Scored kScored = Scored::equal_bits;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t distance, int32_t /*position*/,
                                              const StepFacts& step) {
    return static_cast<uint32_t>(step.hash_bits) - distance;
  }
};

/// Evicts the slot that some later key has come closest to. One byte per slot holds the smallest distance so far. A
/// minimum is idempotent, so blocks that scan the same slots may each apply it.
struct Superseded : RuleDefaults {
  using Accumulator = uint8_t;
  static constexpr Probe kProbe = Probe::new_key;
  static constexpr bool kAccumulates = true;
  static constexpr bool kNeedsNoSteps = true;
  static constexpr Scored kScored = Scored::smallest_distance;
  HASHEVICT_HOST_DEVICE static uint8_t start() { return 255; }
  HASHEVICT_HOST_DEVICE static uint8_t update(uint8_t old, uint32_t distance, const StepFacts& /*step*/) {
    return distance < old ? static_cast<uint8_t>(distance) : old;
  }
  HASHEVICT_HOST_DEVICE static uint32_t score(uint8_t a, uint32_t /*distance*/, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return 255U - a;
  }
};

/// Baseline: evicts the oldest slot, so that sinks and the most recent tokens stay.
struct Oldest : RuleDefaults {
  static constexpr Probe kProbe = Probe::none;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t /*distance*/, int32_t position,
                                              const StepFacts& /*step*/) {
    return ~static_cast<uint32_t>(position);
  }
};

/// Baseline: a random number per (step, position, layer, head), the same in every batch. Positions are mixed with one
/// random word of the step, since a generator for each slot would cost as much as attention over it.
struct Random : RuleDefaults {
  static constexpr Probe kProbe = Probe::none;
  static constexpr bool kReadsSeed = true;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t /*distance*/, int32_t position,
                                              const StepFacts& step) {
    return mix_bits(static_cast<uint32_t>(position) ^ step.draw);
  }
};

/// Evicts the least important key. An importance that is not finite counts as the least.
struct LeastImportant : RuleDefaults {
  using Accumulator = Importance;
  static constexpr Probe kProbe = Probe::none;
  HASHEVICT_HOST_DEVICE static uint32_t score(Importance a, uint32_t /*distance*/, int32_t position,
                                              const StepFacts& step) {
    return ~order_of(a.at(step.token_position - position));
  }
};

/// Whether tokens bring their importance, with or without a slope.
template <class Rule>
inline constexpr bool kReadsImportance = __is_same(typename Rule::Accumulator, Importance);

/// Whether slots have an item in the array of accumulators.
template <class Rule>
inline constexpr bool kHasAccumulator =
    !__is_same(typename Rule::Accumulator, NoAccumulator) && !kReadsImportance<Rule>;

/// All rules: RULE(name of its RuleKind, its struct). A struct with several template arguments needs an alias.
#define HASHEVICT_RULES(RULE)                           \
  RULE(farthest_from_queries, Farthest<Probe::queries>) \
  RULE(farthest_from_key, Farthest<Probe::new_key>)     \
  RULE(oldest, Oldest)                                  \
  RULE(random, Random)                                  \
  RULE(superseded, Superseded)                          \
  RULE(closest_to_mean, ClosestToMean)                  \
  RULE(votes, Votes)                                    \
  RULE(least_important, LeastImportant)

/// The rules by name, for code that learns the rule at run time.
enum class RuleKind : int32_t {
#define HASHEVICT_RULE(name, Rule) name,
  HASHEVICT_RULES(HASHEVICT_RULE)
#undef HASHEVICT_RULE
};

/// The largest value of ::hashevict_policy.
inline constexpr int32_t kLastPolicy = HASHEVICT_POLICY_IMPORTANCE;

/// The rule of a ::hashevict_policy. Only HASH reads `hash_source`.
constexpr RuleKind rule_kind(int32_t policy, int32_t hash_source) {
  switch (policy) {
    case HASHEVICT_POLICY_WINDOW:
      return RuleKind::oldest;
    case HASHEVICT_POLICY_RANDOM:
      return RuleKind::random;
    case HASHEVICT_POLICY_SUPERSEDED:
      return RuleKind::superseded;
    case HASHEVICT_POLICY_MEAN:
      return RuleKind::closest_to_mean;
    case HASHEVICT_POLICY_VOTES:
      return RuleKind::votes;
    case HASHEVICT_POLICY_IMPORTANCE:
      return RuleKind::least_important;
    default:
      return hash_source == HASHEVICT_HASH_SOURCE_KEY ? RuleKind::farthest_from_key : RuleKind::farthest_from_queries;
  }
}

/// Calls `visitor(Rule{})` with the named rule. This is the only switch over rules.
HASHEVICT_EXEC_CHECK_DISABLE
template <class Visitor>
HASHEVICT_HOST_DEVICE constexpr decltype(auto) visit_rule(RuleKind kind, Visitor&& visitor) {
  switch (kind) {
    default:  // unreachable
#define HASHEVICT_RULE(name, Rule) \
  case RuleKind::name:             \
    return visitor(Rule{}); /* NOLINT(bugprone-macro-parentheses): a type */
      HASHEVICT_RULES(HASHEVICT_RULE)
#undef HASHEVICT_RULE
  }
}

/// The needs of a rule, for code that is compiled once for all rules. Each layer's settings store them.
struct RuleFacts {
  Probe probe;
  Scored scored;
  int32_t accumulator_bytes;  ///< per slot: 0, 1 or 4
  bool accumulates;           ///< Rule::kAccumulates
  bool needs_no_steps;        ///< Rule::kNeedsNoSteps
  bool needs_queries;         ///< each step needs the group's queries
  bool needs_key_sums;        ///< each step needs the running sum of all keys seen
  bool reads_seed;            ///< Rule::kReadsSeed
  bool needs_importance;      ///< each token brings the importance of its key
};

/// Derives the facts of a rule from its struct alone.
constexpr RuleFacts facts_of(RuleKind kind) {
  return visit_rule(kind, [](auto example) -> RuleFacts {
    using Rule = decltype(example);
    static_assert(!Rule::kNeedsNoSteps || (Rule::kProbe == Probe::new_key && kHasAccumulator<Rule>),
                  "accumulators that need no steps depend on distances to later keys alone");
    static_assert(!Rule::kAccumulates || kHasAccumulator<Rule>, "update() needs an accumulator to change");
    static_assert(!Rule::kNeedsNoSteps || Rule::kAccumulates, "only what changes may need steps or not");
    static_assert(!Rule::kNeedsNoSteps || !Rule::kReadsSeed, "a random word belongs to a step");
    static_assert(!Rule::kCountsEqualBits ||
                      (!kHasAccumulator<Rule> && Rule::kProbe != Probe::none && Rule::kProbe != Probe::queries),
                  "equal bits are counted against one code, and are the score");
    int32_t bytes = 0;
    if constexpr (kHasAccumulator<Rule>) {
      static_assert(sizeof(typename Rule::Accumulator) == 1 || sizeof(typename Rule::Accumulator) == 4);
      bytes = static_cast<int32_t>(sizeof(typename Rule::Accumulator));
    }
    static_assert(
        Rule::kScored != Scored::smallest_distance || (Rule::kNeedsNoSteps && sizeof(typename Rule::Accumulator) == 1),
        "the smallest distance is a byte that only later keys change");
    return {.probe = Rule::kProbe,
            .scored = Rule::kScored,
            .accumulator_bytes = bytes,
            .accumulates = Rule::kAccumulates,
            .needs_no_steps = Rule::kNeedsNoSteps,
            .needs_queries = Rule::kProbe == Probe::queries,
            .needs_key_sums = Rule::kProbe == Probe::mean_key,
            .reads_seed = Rule::kReadsSeed,
            .needs_importance = kReadsImportance<Rule>};
  });
}

}  // namespace hashevict::core
