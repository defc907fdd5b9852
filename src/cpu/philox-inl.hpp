// SPDX-License-Identifier: Apache-2.0
// Scores of rule `random` for vectors of slots, compiled once per instruction set, behind Highway's guard.
#include <hwy/highway.h>

#include "core/rule.hpp"
#include "cpu/unroll.hpp"

#if defined(HASHEVICT_CPU_PHILOX_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_PHILOX_INL_HPP
#undef HASHEVICT_CPU_PHILOX_INL_HPP
#else
#define HASHEVICT_CPU_PHILOX_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
using Words = hwy::HWY_NAMESPACE::CappedTag<uint32_t, 16>;
using WordVector = hwy::HWY_NAMESPACE::Vec<Words>;

/// The two words of 64-bit products of `a` and a number.
struct Product {
  WordVector high, low;
};

HWY_INLINE Product multiply(WordVector a, uint32_t factor) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Words d;
  const hn::Repartition<uint64_t, Words> wide;
  const auto factors = hn::Set(d, factor);
  const auto even = hn::MulEven(a, factors);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, a))), factors);
  return {hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even))),
          hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even))};
}

/// scores[j] = core::Random::score() of positions[j], for a multiple of 16 slots. Compilers leave its rounds a loop,
/// and then draw one number at a time.
HWY_INLINE void score_at_random(const core::StepFacts& facts, const int32_t* positions, int32_t num_slots,
                                uint32_t* scores) {
  namespace hn = hwy::HWY_NAMESPACE;
  const Words d;
  for (int32_t j = 0; j < num_slots; j += static_cast<int32_t>(hn::MaxLanes(d))) {
    auto x = hn::Set(d, static_cast<uint32_t>(facts.token_position));
    auto y = hn::BitCast(d, hn::LoadU(hn::RebindToSigned<Words>(), positions + j));
    auto z = hn::Set(d, static_cast<uint32_t>(facts.layer));
    auto w = hn::Set(d, static_cast<uint32_t>(facts.kv_head));
    uint32_t key0 = static_cast<uint32_t>(facts.seed) ^ core::Random::kStreamTag;
    auto key1 = static_cast<uint32_t>(facts.seed >> 32);
    // Unrolled, so that what all slots share in the first rounds is computed once.
    HASHEVICT_UNROLL
    for (int round = 0; round < 10; ++round) {
      const Product first = multiply(x, 0xD2511F53U);
      const Product second = multiply(z, 0xCD9E8D57U);
      x = hn::Xor(hn::Xor(second.high, y), hn::Set(d, key0));
      y = second.low;
      z = hn::Xor(hn::Xor(first.high, w), hn::Set(d, key1));
      w = first.low;
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
    hn::StoreU(x, d, scores + j);
  }
}
#endif

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
