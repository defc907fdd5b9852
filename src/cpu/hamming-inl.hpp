// SPDX-License-Identifier: Apache-2.0
// Hamming distances from all codes of a head to a few probes, compiled once per instruction set, behind Highway's
// guard.
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/bit_counts-inl.hpp"
#include "cpu/fetch.hpp"

#if defined(HASHEVICT_CPU_HAMMING_INL_HPP) == defined(HWY_TARGET_TOGGLE)
#ifdef HASHEVICT_CPU_HAMMING_INL_HPP
#undef HASHEVICT_CPU_HAMMING_INL_HPP
#else
#define HASHEVICT_CPU_HAMMING_INL_HPP
#endif

HWY_BEFORE_NAMESPACE();
namespace hashevict::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int32_t kMaxCodeBytes = 16;
constexpr int32_t kProbesPerPass = 31;  // a probe adds up to 8 to a byte, which must stay below 256

/// Fetches codes and, unless they are null, positions ahead of a scan. Attention of other heads has evicted them from
/// the caches.
class ScanAhead {
 public:
  ScanAhead(const uint8_t* codes, const int32_t* positions)
      : codes_{codes},
        positions_{positions},
        bytes_{processor().fetches_to_second_level ? 4096U : 1024U},
        to_second_level_{processor().fetches_to_second_level} {}

  HWY_INLINE void fetch(size_t code_byte, size_t slot) const {
    fetch_line(codes_ + (bytes_ + code_byte), to_second_level_);
    if (positions_ != nullptr) fetch_line(positions_ + (kSlots + slot), to_second_level_);
  }

 private:
  static constexpr size_t kSlots = 256;

  const uint8_t* codes_;
  const int32_t* positions_;
  size_t bytes_;
  bool to_second_level_;
};

#if HWY_TARGET == HWY_SCALAR

/// Sums distances in plain loops, where a vector is a single byte and cannot hold a code.
inline void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                             int32_t num_probes, const int32_t* /*positions*/, uint32_t* distances) {
  for (int32_t slot = 0; slot < num_slots; ++slot) {
    uint32_t sum = 0;
    for (int32_t i = 0; i < num_probes * code_bytes; ++i) {
      const int different = codes[slot * code_bytes + i % code_bytes] ^ probes[i];
      sum += static_cast<uint32_t>(__builtin_popcount(static_cast<unsigned>(different)));
    }
    distances[slot] = sum;
  }
}

#else

/// Repeats a code to fill a vector; `kBytes` divides every vector size.
template <int kBytes, class D>
HWY_INLINE hn::Vec<D> broadcast_code(D d, const uint8_t* code) {
  HWY_ALIGN uint8_t bytes[HWY_MAX_BYTES];
  for (size_t i = 0; i < hn::Lanes(d); i += kBytes) std::memcpy(bytes + i, code, kBytes);
  return hn::Load(d, bytes);
}

/// The sums of the distances from each nibble to nibble `index` of all probes, in every 128 bits of a vector.
template <int kBytes, class D>
HWY_INLINE hn::Vec<D> nibble_sums(D d, const uint8_t* probes, int32_t num_probes, int index) {
  HWY_ALIGN static constexpr uint8_t kBitsSet[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
  const hn::CappedTag<uint8_t, 16> block;
  const auto bits_set = hn::Load(block, kBitsSet);
  auto sums = hn::Zero(block);
  for (int32_t p = 0; p < num_probes; ++p) {
    const int nibble = probes[p * kBytes + index / 2] >> (4 * (index % 2)) & 15;
    const auto different = hn::Xor(hn::Iota(block, uint8_t{0}), hn::Set(block, static_cast<uint8_t>(nibble)));
    sums = hn::Add(sums, hn::TableLookupBytes(bits_set, different));
  }
  HWY_ALIGN uint8_t table[16];
  hn::Store(sums, block, table);
  return hn::LoadDup128(d, table);
}

/// Runs one pass for codes of one or two bytes and several probes. The sum of a nibble's distances to all probes
/// depends on the nibble alone, so a table of 16 sums per nibble replaces the loop over probes.
template <int kBytes>
HWY_INLINE void table_pass(const uint8_t* codes, int32_t num_slots, const uint8_t* probes, int32_t num_probes,
                           const int32_t* positions, bool first_pass, uint32_t* distances) {
  static_assert(kBytes <= 2);
  const hn::CappedTag<uint8_t, kMaxVectorBytes> d;
  hn::Vec<decltype(d)> tables[kBytes * 2];
  for (int i = 0; i < kBytes * 2; ++i) tables[i] = nibble_sums<kBytes>(d, probes, num_probes, i);
  const auto nibble = hn::Set(d, uint8_t{15});
  const ScanAhead ahead(codes, positions);
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += hn::Lanes(d) / kBytes) {
    ahead.fetch(slot * kBytes, slot);
    const auto code = hn::LoadU(d, codes + slot * kBytes);
    const auto low = hn::And(code, nibble);
    const auto high = hn::And(hn::ShiftRight<4>(code), nibble);
    // As if all bytes were the first of their codes; then as if all were the second.
    auto counts = hn::Add(hn::TableLookupBytes(tables[0], low), hn::TableLookupBytes(tables[1], high));
    if constexpr (kBytes == 2) {
      const auto second = hn::Add(hn::TableLookupBytes(tables[2], low), hn::TableLookupBytes(tables[3], high));
      counts = hn::OddEven(second, counts);
    }
    add_counts<kBytes>(d, counts, first_pass, distances + slot);
  }
}

/// Runs one pass over the slots, with up to kProbesPerPass probes.
template <int kBytes>
HWY_INLINE void distance_pass(const uint8_t* codes, int32_t num_slots, const uint8_t* probes, int32_t num_probes,
                              const int32_t* positions, bool first_pass, uint32_t* distances) {
  const hn::CappedTag<uint8_t, kMaxVectorBytes> d;
  const size_t slots_per_vector = hn::Lanes(d) / kBytes;
  HWY_ALIGN uint8_t patterns[kProbesPerPass * HWY_MAX_BYTES];
  for (int32_t p = 0; p < num_probes; ++p) {
    hn::Store(broadcast_code<kBytes>(d, probes + int64_t{p} * kBytes), d,
              patterns + static_cast<size_t>(p) * hn::Lanes(d));
  }
  constexpr size_t kVectors = kBytes <= 4 ? 1 : kBytes / 4;
  const ScanAhead ahead(codes, positions);
  for (size_t slot = 0; slot < static_cast<size_t>(num_slots); slot += kVectors * slots_per_vector) {
    ahead.fetch(slot * kBytes, slot);
    hn::Vec<decltype(d)> code[kVectors], counts[kVectors];
    for (size_t i = 0; i < kVectors; ++i) {
      code[i] = hn::LoadU(d, codes + (slot + i * slots_per_vector) * kBytes);
      counts[i] = hn::PopulationCount(hn::Xor(code[i], hn::Load(d, patterns)));
    }
    for (size_t p = 1; p < static_cast<size_t>(num_probes); ++p) {
      const auto pattern = hn::Load(d, patterns + p * hn::Lanes(d));
      for (size_t i = 0; i < kVectors; ++i) {
        counts[i] = hn::Add(counts[i], hn::PopulationCount(hn::Xor(code[i], pattern)));
      }
    }
    if constexpr (kBytes <= 4) {
      add_counts<kBytes>(d, counts[0], first_pass, distances + slot);
    } else {
      add_long_counts<kBytes>(d, counts, first_pass, distances + slot);
    }
  }
}

inline void HammingDistances(const uint8_t* codes, int32_t code_bytes, int32_t num_slots, const uint8_t* probes,
                             int32_t num_probes, const int32_t* positions, uint32_t* distances) {
  for (int32_t done = 0; done < num_probes; done += kProbesPerPass) {
    const int32_t count = std::min(num_probes - done, kProbesPerPass);
    const uint8_t* const pass = probes + int64_t{done} * code_bytes;
    const bool by_table = count > 1;
    const bool first = done == 0;
    switch (code_bytes) {
      case 1:
        by_table ? table_pass<1>(codes, num_slots, pass, count, positions, first, distances)
                 : distance_pass<1>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 2:
        by_table ? table_pass<2>(codes, num_slots, pass, count, positions, first, distances)
                 : distance_pass<2>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 4:
        distance_pass<4>(codes, num_slots, pass, count, positions, first, distances);
        break;
      case 8:
        distance_pass<8>(codes, num_slots, pass, count, positions, first, distances);
        break;
      default:
        distance_pass<kMaxCodeBytes>(codes, num_slots, pass, count, positions, first, distances);
        break;
    }
  }
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace hashevict::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target guard
