// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/step.cuh"

/// The slots of a head during a prompt. Only one thread touches a slot: the one whose number equals the slot's modulo
/// kChooseThreads. So its steps need no barrier in between.
namespace hashevict::kernels {

inline constexpr int32_t kChooseThreads = 512;
inline constexpr int32_t kChooseWarps = kChooseThreads / simt::kWarpSize;

/// Slots in the cache's own memory. Accumulators of any type are passed as 32 bits.
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
  HASHEVICT_DEVICE core::Importance importance(int32_t slot) const { return importance_at(head, slot); }
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
  HASHEVICT_DEVICE void set_importance(int32_t slot, const core::Importance& importance) const {
    store_importance(head, slot, importance);
  }
};

/// Slots copied to the block's shared memory.
template <int32_t kBits>
struct SharedSlots {
  simt::SharedArray<uint32_t> codes;
  simt::SharedArray<int32_t> positions;
  simt::SharedArray<uint32_t> accumulators;  ///< empty for rules without accumulators
  simt::SharedArray<float> importances;      ///< empty for rules that need none
  simt::SharedArray<float> slopes;           ///< likewise

  HASHEVICT_DEVICE Code<kBits> code(int32_t slot) const {
    Code<kBits> code;
    codes.load_many(slot * kCodeWords<kBits>, code.words);
    return code;
  }
  HASHEVICT_DEVICE int32_t position(int32_t slot) const { return positions.load(slot); }
  HASHEVICT_DEVICE uint32_t accumulator(int32_t slot) const { return accumulators.load(slot); }
  HASHEVICT_DEVICE core::Importance importance(int32_t slot) const {
    return {importances.load(slot), slopes.load(slot)};
  }
  HASHEVICT_DEVICE void set_code(int32_t slot, const Code<kBits>& code) const {
    codes.store_many(slot * kCodeWords<kBits>, code.words);
  }
  HASHEVICT_DEVICE void set_position(int32_t slot, int32_t position) const { positions.store(slot, position); }
  HASHEVICT_DEVICE void set_accumulator(int32_t slot, uint32_t value) const { accumulators.store(slot, value); }
  HASHEVICT_DEVICE void set_importance(int32_t slot, const core::Importance& importance) const {
    importances.store(slot, importance.value);
    slopes.store(slot, importance.slope);
  }
};

/// Shared memory that a copy takes.
template <int32_t kBits>
HASHEVICT_HOST_DEVICE constexpr int64_t shared_slots_bytes(int32_t capacity, const core::RuleFacts& rule) {
  const int32_t words = (rule.accumulator_bytes != 0 ? 1 : 0) + (rule.needs_importance ? 2 : 0);
  const int64_t arrays = int64_t{kCodeWords<kBits>} + 1 + words;
  const int64_t padded = (int64_t{capacity} + 3) / 4 * 4;  // every array starts at a multiple of 16 bytes
  return arrays * padded * static_cast<int64_t>(sizeof(uint32_t));
}

template <int32_t kBits>
HASHEVICT_DEVICE SharedSlots<kBits> take_shared_slots(simt::SharedMemory& memory, int32_t capacity,
                                                      const core::RuleFacts& rule) {
  const auto codes = memory.take<uint32_t>(capacity * kCodeWords<kBits>);
  const auto positions = memory.take<int32_t>(capacity);
  const auto accumulators = memory.take<uint32_t>(rule.accumulator_bytes != 0 ? capacity : 0);
  const auto importances = memory.take<float>(rule.needs_importance ? capacity : 0);
  return {codes, positions, accumulators, importances, memory.take<float>(rule.needs_importance ? capacity : 0)};
}

/// Copies those of the first `count` slots that belong to this thread.
template <class From, class To>
HASHEVICT_DEVICE void copy_slots_of_thread(const From& from, const To& to, int32_t count, const core::RuleFacts& rule) {
  for (int32_t slot = simt::thread_index(); slot < count; slot += kChooseThreads) {
    to.set_code(slot, from.code(slot));
    to.set_position(slot, from.position(slot));
    if (rule.accumulator_bytes != 0) to.set_accumulator(slot, from.accumulator(slot));
    if (rule.needs_importance) to.set_importance(slot, from.importance(slot));
  }
}

}  // namespace hashevict::kernels
