// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/step.cuh"

/// The slots of a head while a prompt runs through them. Each is touched by one thread alone, the one whose number is
/// the slot's modulo kChooseThreads, so that no barrier is needed between its steps.
namespace hashevict::kernels {

inline constexpr int32_t kChooseThreads = 512;
inline constexpr int32_t kChooseWarps = kChooseThreads / simt::kWarpSize;

/// What is known of a rule at run time: replaying is compiled once for all rules, which differ in a few instructions.
struct RuleFacts {
  core::Probe probe;
  int32_t accumulator_bytes;
  bool accumulates;
  bool needs_no_steps;
  bool starts_vary;  ///< with the token, so that what new accumulators start from is computed beforehand
};

HASHEVICT_HOST_DEVICE inline RuleFacts rule_facts(core::RuleKind kind) {
  return core::visit_rule(kind, [&](auto example) -> RuleFacts {
    using Rule = decltype(example);
    constexpr bool kByQueries = Rule::kAccumulates && Rule::kProbe == core::Probe::queries;
    return {Rule::kProbe, accumulator_bytes(kind), Rule::kAccumulates, Rule::kNeedsNoSteps,
            Rule::kNeedsNorm || kByQueries};
  });
}

/// Where slots always lie. Accumulators of any type are handed around in 32 bits.
template <int32_t kBits>
struct GlobalSlots {
  Head head;
  int32_t accumulator_bytes;

  HASHEVICT_DEVICE Code<kBits> code(int32_t slot) const { return load_code<kBits>(head.codes, slot); }
  HASHEVICT_DEVICE int32_t position(int32_t slot) const { return simt::load(head.positions + slot); }
  HASHEVICT_DEVICE uint32_t accumulator(int32_t slot) const {
    if (accumulator_bytes == 1) return simt::load(head.accumulators + slot);
    return simt::load(reinterpret_cast<const uint32_t*>(head.accumulators) + slot);
  }
  HASHEVICT_DEVICE void set_code(int32_t slot, const Code<kBits>& code) const { store_code(head.codes, slot, code); }
  HASHEVICT_DEVICE void set_position(int32_t slot, int32_t position) const {
    simt::store(head.positions + slot, position);
  }
  HASHEVICT_DEVICE void set_accumulator(int32_t slot, uint32_t value) const {
    if (accumulator_bytes == 1) {
      simt::store(head.accumulators + slot, static_cast<uint8_t>(value));
    } else {
      simt::store(reinterpret_cast<uint32_t*>(head.accumulators) + slot, value);
    }
  }
};

/// A copy in the block's shared memory.
template <int32_t kBits>
struct SharedSlots {
  simt::SharedArray<uint32_t> codes;
  simt::SharedArray<int32_t> positions;
  simt::SharedArray<uint32_t> accumulators;  ///< none for rules without

  HASHEVICT_DEVICE Code<kBits> code(int32_t slot) const {
    Code<kBits> code;
    codes.load_many(slot * kCodeWords<kBits>, code.words);
    return code;
  }
  HASHEVICT_DEVICE int32_t position(int32_t slot) const { return positions.load(slot); }
  HASHEVICT_DEVICE uint32_t accumulator(int32_t slot) const { return accumulators.load(slot); }
  HASHEVICT_DEVICE void set_code(int32_t slot, const Code<kBits>& code) const {
    codes.store_many(slot * kCodeWords<kBits>, code.words);
  }
  HASHEVICT_DEVICE void set_position(int32_t slot, int32_t position) const { positions.store(slot, position); }
  HASHEVICT_DEVICE void set_accumulator(int32_t slot, uint32_t value) const { accumulators.store(slot, value); }
};

/// Shared memory of a copy.
template <int32_t kBits>
HASHEVICT_HOST_DEVICE constexpr int64_t shared_slots_bytes(int32_t capacity, bool accumulators) {
  const int64_t arrays = int64_t{kCodeWords<kBits>} + 1 + (accumulators ? 1 : 0);
  const int64_t padded = (int64_t{capacity} + 3) / 4 * 4;  // every array starts on a boundary of 16 bytes
  return arrays * padded * static_cast<int64_t>(sizeof(uint32_t));
}

template <int32_t kBits>
HASHEVICT_DEVICE SharedSlots<kBits> take_shared_slots(simt::SharedMemory& memory, int32_t capacity, bool accumulators) {
  const auto codes = memory.take<uint32_t>(capacity * kCodeWords<kBits>);
  const auto positions = memory.take<int32_t>(capacity);
  return {codes, positions, memory.take<uint32_t>(accumulators ? capacity : 0)};
}

/// Copies this thread's slots of the first `count`.
template <class From, class To>
HASHEVICT_DEVICE void copy_slots_of_thread(const From& from, const To& to, int32_t count, bool accumulators) {
  for (int32_t slot = simt::thread_index(); slot < count; slot += kChooseThreads) {
    to.set_code(slot, from.code(slot));
    to.set_position(slot, from.position(slot));
    if (accumulators) to.set_accumulator(slot, from.accumulator(slot));
  }
}

}  // namespace hashevict::kernels
