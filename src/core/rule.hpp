// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.hpp"
#include "core/philox.hpp"
#include "hashevict/hashevict.h"

/// Every eviction rule has one shape (algorithm.md, *Rules*): the victim is the evictable slot with the largest score,
/// and the score comes from the distance between the slot's code and a probe, and from a small accumulator per slot.
/// A new rule is one struct, one name and its line in the two switches here; scans, kernels and state sizes follow.
namespace hashevict::core {

/// Whose code a rule measures distances to.
enum class Probe {
  none,      ///< no distance is needed
  queries,   ///< the group's query codes, distances summed
  new_key,   ///< the new key
  mean_key,  ///< the mean of all keys seen, the new one included
  majority   ///< the bitwise majority of all key codes seen, the new one included
};

/// What a rule may know of the step, besides the slot. Trivially copyable.
struct StepFacts {
  int32_t token_position;  ///< of the new token
  int32_t hash_bits;
  int32_t decay_shift;
  int32_t layer;
  int32_t kv_head;  ///< global index
  uint64_t seed;
};

/// What a new token's slot starts from.
struct NewToken {
  uint32_t own_distance;  ///< of its own code to the probe
  float squared_norm;     ///< of its key; computed for rules with kNeedsNorm only
};

struct NoAccumulator {};

/// Defaults that rules override.
struct RuleDefaults {
  using Accumulator = NoAccumulator;
  static constexpr bool kNeedsNorm = false;
  /// True where accumulators change at every step, also while the cache is not yet full.
  static constexpr bool kAccumulates = false;
  /// True where accumulators depend on later keys alone: prompt modes that run no steps can then compute them.
  static constexpr bool kNeedsNoSteps = false;
  /// True where the score is the number of equal bits: the distance from the complement of the probe.
  static constexpr bool kCountsEqualBits = false;
  HASHEVICT_HOST_DEVICE static NoAccumulator start(const NewToken& /*token*/) { return {}; }
  HASHEVICT_HOST_DEVICE static NoAccumulator update(NoAccumulator old, uint32_t /*distance*/,
                                                    const StepFacts& /*step*/) {
    return old;
  }
};

/// The paper's rule (queries) and its authors' (new key): evict the farthest.
template <Probe kWhose>
struct Farthest : RuleDefaults {
  static constexpr Probe kProbe = kWhose;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t distance, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return distance;
  }
};

/// Farthest with distances averaged over steps, `a += (D - a) / 2^shift` in 24.8 fixed point.
template <Probe kWhose>
struct FarthestDecayed : RuleDefaults {
  using Accumulator = uint32_t;
  static constexpr Probe kProbe = kWhose;
  static constexpr bool kAccumulates = true;
  HASHEVICT_HOST_DEVICE static uint32_t start(const NewToken& token) { return token.own_distance << 8; }
  HASHEVICT_HOST_DEVICE static uint32_t update(uint32_t old, uint32_t distance, const StepFacts& step) {
    const int32_t change = static_cast<int32_t>(distance << 8) - static_cast<int32_t>(old);
    return old + static_cast<uint32_t>(change >> step.decay_shift);
  }
  HASHEVICT_HOST_DEVICE static uint32_t score(uint32_t a, uint32_t /*distance*/, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return a;
  }
};

/// Evict redundancy: the slot closest to a code that stands for all keys seen.
template <Probe kWhose>
struct Closest : RuleDefaults {
  static constexpr Probe kProbe = kWhose;
  static constexpr bool kCountsEqualBits = true;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t distance, int32_t /*position*/,
                                              const StepFacts& step) {
    return static_cast<uint32_t>(step.hash_bits) - distance;
  }
};

/// Evict the slot that some later key has come closest to: one byte per slot holds the smallest distance so far. A
/// minimum is idempotent, so blocks that scan the same slots redundantly may each apply it.
struct Superseded : RuleDefaults {
  using Accumulator = uint8_t;
  static constexpr Probe kProbe = Probe::new_key;
  static constexpr bool kAccumulates = true;
  static constexpr bool kNeedsNoSteps = true;
  HASHEVICT_HOST_DEVICE static uint8_t start(const NewToken& /*token*/) { return 255; }
  HASHEVICT_HOST_DEVICE static uint8_t update(uint8_t old, uint32_t distance, const StepFacts& /*step*/) {
    return distance < old ? static_cast<uint8_t>(distance) : old;
  }
  HASHEVICT_HOST_DEVICE static uint32_t score(uint8_t a, uint32_t /*distance*/, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return 255U - a;
  }
};

/// Baseline: evict the oldest, so that sinks and the most recent stay.
struct Oldest : RuleDefaults {
  static constexpr Probe kProbe = Probe::none;
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t /*distance*/, int32_t position,
                                              const StepFacts& /*step*/) {
    return ~static_cast<uint32_t>(position);
  }
};

/// Baseline: a counter-based random number per (step, position, layer, head): no state, no dependence on the batch.
struct Random : RuleDefaults {
  static constexpr Probe kProbe = Probe::none;
  static constexpr uint32_t kStreamTag = 0x52414E44;  // keeps these numbers apart from the projection's
  HASHEVICT_HOST_DEVICE static uint32_t score(NoAccumulator /*a*/, uint32_t /*distance*/, int32_t position,
                                              const StepFacts& step) {
    return philox4x32_10({static_cast<uint32_t>(step.token_position), static_cast<uint32_t>(position),
                          static_cast<uint32_t>(step.layer), static_cast<uint32_t>(step.kv_head)},
                         static_cast<uint32_t>(step.seed) ^ kStreamTag, static_cast<uint32_t>(step.seed >> 32))
        .x;
  }
};

/// Baseline: evict the largest key. Non-negative floats order like their bits; NaN counts as infinity.
struct LargestKey : RuleDefaults {
  using Accumulator = uint32_t;
  static constexpr Probe kProbe = Probe::none;
  static constexpr bool kNeedsNorm = true;
  HASHEVICT_HOST_DEVICE static uint32_t start(const NewToken& token) {
    constexpr uint32_t kInfinityBits = 0x7F800000U;
    uint32_t bits;
    std::memcpy(&bits, &token.squared_norm, sizeof bits);
    return bits > kInfinityBits ? kInfinityBits : bits;
  }
  HASHEVICT_HOST_DEVICE static uint32_t update(uint32_t old, uint32_t /*distance*/, const StepFacts& /*step*/) {
    return old;
  }
  HASHEVICT_HOST_DEVICE static uint32_t score(uint32_t a, uint32_t /*distance*/, int32_t /*position*/,
                                              const StepFacts& /*step*/) {
    return a;
  }
};

template <class Rule>
inline constexpr bool kHasAccumulator = !__is_same(typename Rule::Accumulator, NoAccumulator);

/// Names the rules, for code that gets one at run time.
enum class RuleKind : int32_t {
  farthest_from_queries,
  farthest_from_key,
  decayed_from_queries,
  decayed_from_key,
  oldest,
  random,
  largest_key,
  closest_to_mean,
  closest_to_majority,
  superseded
};

/// The rule that a config asks for.
inline RuleKind rule_kind(const hashevict_config& config) {
  const bool by_key = config.hash_source == HASHEVICT_HASH_SOURCE_KEY;
  switch (config.policy) {
    case HASHEVICT_POLICY_WINDOW:
      return RuleKind::oldest;
    case HASHEVICT_POLICY_RANDOM:
      return RuleKind::random;
    case HASHEVICT_POLICY_KEY_NORM:
      return RuleKind::largest_key;
    case HASHEVICT_POLICY_MEAN:
      return RuleKind::closest_to_mean;
    case HASHEVICT_POLICY_MAJORITY:
      return RuleKind::closest_to_majority;
    case HASHEVICT_POLICY_SUPERSEDED:
      return RuleKind::superseded;
    default:
      break;
  }
  if (config.score_decay_shift > 0) return by_key ? RuleKind::decayed_from_key : RuleKind::decayed_from_queries;
  return by_key ? RuleKind::farthest_from_key : RuleKind::farthest_from_queries;
}

/// Calls `visitor(Rule{})` with the rule of that name: the one switch over rules.
HASHEVICT_EXEC_CHECK_DISABLE
template <class Visitor>
HASHEVICT_HOST_DEVICE decltype(auto) visit_rule(RuleKind kind, Visitor&& visitor) {
  switch (kind) {
    case RuleKind::farthest_from_key:
      return visitor(Farthest<Probe::new_key>{});
    case RuleKind::decayed_from_queries:
      return visitor(FarthestDecayed<Probe::queries>{});
    case RuleKind::decayed_from_key:
      return visitor(FarthestDecayed<Probe::new_key>{});
    case RuleKind::oldest:
      return visitor(Oldest{});
    case RuleKind::random:
      return visitor(Random{});
    case RuleKind::largest_key:
      return visitor(LargestKey{});
    case RuleKind::closest_to_mean:
      return visitor(Closest<Probe::mean_key>{});
    case RuleKind::closest_to_majority:
      return visitor(Closest<Probe::majority>{});
    case RuleKind::superseded:
      return visitor(Superseded{});
    default:
      return visitor(Farthest<Probe::queries>{});
  }
}

template <class Visitor>
decltype(auto) visit_rule(const hashevict_config& config, Visitor&& visitor) {
  return visit_rule(rule_kind(config), static_cast<Visitor&&>(visitor));
}

/// Bytes of accumulator per slot.
inline int32_t accumulator_bytes(const hashevict_config& config) {
  return visit_rule(config, [](auto rule) -> int32_t {
    using Rule = decltype(rule);
    if constexpr (kHasAccumulator<Rule>) return static_cast<int32_t>(sizeof(typename Rule::Accumulator));
    return 0;
  });
}

}  // namespace hashevict::core
