// SPDX-License-Identifier: Apache-2.0
// Bytes that are not a saved state, or no longer: load() refuses them and the sequence stays as it was.
#include <algorithm>
#include <cstring>
#include <random>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr uint64_t kSeed = 20240607;
constexpr int kIterations = 20000;

/// One of several ways to spoil bytes.
void damage(std::vector<std::byte>& bytes, std::mt19937_64& random) {
  const auto at = [&](size_t size) { return static_cast<std::ptrdiff_t>(random() % size); };
  switch (random() % 5) {
    case 0:  // some random bytes
      for (uint64_t i = 0; i <= random() % 8; ++i) {
        bytes[static_cast<size_t>(at(bytes.size()))] = static_cast<std::byte>(random());
      }
      break;
    case 1:  // a random end
      bytes.resize(static_cast<size_t>(at(bytes.size())) + 1);
      break;
    case 2: {  // a word of extreme value
      const uint64_t words[] = {0, 1, UINT64_MAX, INT64_MAX, uint64_t{1} << 63, INT32_MAX, UINT32_MAX};
      const uint64_t word = words[random() % 7];
      std::memcpy(bytes.data() + random() % (bytes.size() / 8) * 8, &word, sizeof word);
      break;
    }
    case 3:  // bytes go missing
      bytes.erase(bytes.begin() + at(bytes.size() - 1));
      break;
    default:  // bytes come in
      bytes.insert(bytes.begin() + at(bytes.size()), static_cast<std::byte>(random()));
      break;
  }
}

TEST(FuzzLoad, DamagedStatesAreRefusedOrTheSame) {
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937_64 random{kSeed};
  Cache source = used_cache();
  Cache target = used_cache();
  const std::array saved{source.save(0, Stream{}), source.save(1, Stream{}), source.save(2, Stream{})};
  const std::vector<std::byte> before = target.save(1, Stream{});
  for (int i = 0; i < kIterations; ++i) {
    const std::vector<std::byte>& original = saved[random() % saved.size()];
    std::vector<std::byte> bytes = original;
    damage(bytes, random);
    const hashevict_status status = hashevict_load(target.handle(), 1, bytes.data(), bytes.size(), nullptr, nullptr);
    if (status == HASHEVICT_OK) {
      // The damage changed nothing, or only what lies behind the end of the state.
      ASSERT_GE(bytes.size(), original.size()) << "iteration " << i;
      ASSERT_TRUE(std::equal(original.begin(), original.end(), bytes.begin())) << "iteration " << i;
      target.load(1, before.data(), before.size(), Stream{});
    } else {
      ASSERT_EQ(status, HASHEVICT_INVALID_DATA) << "iteration " << i;
    }
  }
  EXPECT_EQ(target.save(1, Stream{}), before);
}

TEST(FuzzLoad, NoiseIsRefused) {
  SCOPED_TRACE(::testing::Message() << "seed " << kSeed);
  std::mt19937_64 random{kSeed + 1};
  Cache target = used_cache();
  const std::vector<std::byte> before = save_all(target);
  for (int i = 0; i < kIterations; ++i) {
    std::vector<std::byte> noise(1 + random() % 600);
    for (std::byte& b : noise) b = static_cast<std::byte>(random());
    ASSERT_EQ(hashevict_load(target.handle(), 0, noise.data(), noise.size(), nullptr, nullptr), HASHEVICT_INVALID_DATA);
  }
  EXPECT_EQ(save_all(target), before);
}

}  // namespace
}  // namespace hashevict::test
