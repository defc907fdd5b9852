// SPDX-License-Identifier: Apache-2.0
#include "core/philox.hpp"

#include <gtest/gtest.h>

#include "reference/philox.hpp"

/// Known answers: the vectors that the authors of Philox publish with Random123.
namespace hashevict {
namespace {

using Counter = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

struct KnownAnswer {
  Counter counter;
  Key key;
  Counter words;
};

constexpr KnownAnswer kKnownAnswers[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8}},
    {{0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF},
     {0xFFFFFFFF, 0xFFFFFFFF},
     {0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD}},
    {{0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344},
     {0xA4093822, 0x299F31D0},
     {0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1}},
};

Counter library_words(const Counter& counter, const Key& key) {
  const core::Words4 words = core::philox4x32_10({counter[0], counter[1], counter[2], counter[3]}, key[0], key[1]);
  return {words.x, words.y, words.z, words.w};
}

TEST(Philox, LibraryGivesTheKnownAnswers) {
  for (const KnownAnswer& known : kKnownAnswers) EXPECT_EQ(library_words(known.counter, known.key), known.words);
}

TEST(Philox, OracleGivesTheKnownAnswers) {
  for (const KnownAnswer& known : kKnownAnswers) {
    EXPECT_EQ(reference::philox4x32_10(known.counter, known.key), known.words);
  }
}

TEST(Philox, LibraryAndOracleAgreeOnEveryWordOfCounterAndKey) {
  for (uint32_t i = 0; i < 32; ++i) {
    for (std::size_t word = 0; word < 6; ++word) {
      Counter counter{1, 2, 3, 4};
      Key key{5, 6};
      (word < 4 ? counter[word] : key[word - 4]) ^= 1U << i;
      EXPECT_EQ(library_words(counter, key), reference::philox4x32_10(counter, key)) << "word " << word << " bit " << i;
    }
  }
}

}  // namespace
}  // namespace hashevict
