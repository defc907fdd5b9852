// SPDX-License-Identifier: Apache-2.0
// Structs that carry their size: a caller's header may be older or newer than the library.
#include <array>
#include <cstring>
#include <functional>

#include "support.hpp"

namespace hashevict::test {
namespace {

using E = hashevict_error;

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

/// Structs that the library fills: what it writes never leaves struct_size bytes, fields that it does not know become
/// zero, and too small a struct is refused.
template <class Result>
void expect_sized(const char* name, const std::function<hashevict_status(Result*, hashevict_error*)>& call) {
  struct {
    Result known;
    std::array<std::byte, 16> newer;
  } result{};
  result.newer.fill(std::byte{0x77});
  for (const size_t wrong : {size_t{0}, sizeof(Result) - 8, SIZE_MAX}) {
    result.known.struct_size = wrong;
    expect_refused(outcome_of([&](hashevict_error* error) { return call(&result.known, error); }),
                   {kInvalid, {name, "struct_size", std::to_string(wrong)}});
  }
  result.known.struct_size = sizeof(Result);
  EXPECT_EQ(outcome_of([&](hashevict_error* error) { return call(&result.known, error); }).status, HASHEVICT_OK);
  EXPECT_THAT(result.newer, ::testing::Each(std::byte{0x77}));
  result.known.struct_size = sizeof(Result) + 8;
  EXPECT_EQ(outcome_of([&](hashevict_error* error) { return call(&result.known, error); }).status, HASHEVICT_OK);
  EXPECT_EQ(result.known.struct_size, sizeof(Result) + 8);
  for (size_t i = 0; i < result.newer.size(); ++i) EXPECT_EQ(result.newer[i], i < 8 ? std::byte{0} : std::byte{0x77});
}

TEST(StructSize, OfResultsIsHonoured) {
  const Cache owner = used_cache();
  hashevict_cache* const cache = owner.handle();
  const hashevict_config config = small_c_config();
  expect_sized<hashevict_bytes>("bytes", [&](auto* r, E* e) { return hashevict_required_bytes(&config, r, e); });
  expect_sized<hashevict_view>("view", [&](auto* r, E* e) { return hashevict_get_view(cache, 0, r, e); });
  expect_sized<hashevict_config>("config", [&](auto* r, E* e) { return hashevict_get_config(cache, r, e); });
  expect_sized<hashevict_statistics>(
      "statistics", [&](auto* r, E* e) { return hashevict_get_statistics(cache, -1, -1, r, e, nullptr); });
  expect_sized<hashevict_capabilities>(
      "capabilities", [&](auto* r, E* e) { return hashevict_get_capabilities(HASHEVICT_BACKEND_CPU, r, e); });
}

/// A struct of the library between its caller's other memory.
template <class T>
struct Canaries {
  static constexpr std::byte kCanary{0xA5};
  Canaries() { std::memset(static_cast<void*>(this), static_cast<int>(kCanary), sizeof *this); }
  T known;
  std::array<std::byte, 32> behind;
};

/// Init functions that are told a size: what they write never leaves it, zeros follow the fields that this library
/// knows, and a size that no version has had is refused. Those of the header tell the size of the header's own struct.
template <class T>
void expect_init_sized(const char* name, void (*init)(T*),
                       hashevict_status (*init_sized)(T*, size_t, hashevict_error*)) {
  Canaries<T> expected;
  init(&expected.known);
  EXPECT_EQ(expected.known.struct_size, sizeof(T));
  EXPECT_THAT(expected.behind, ::testing::Each(Canaries<T>::kCanary));
  for (const size_t wrong : {size_t{0}, size_t{8}, sizeof(T) - 8, SIZE_MAX}) {
    Canaries<T> given;
    expect_refused(outcome_of([&](hashevict_error* error) { return init_sized(&given.known, wrong, error); }),
                   {kInvalid, {name, "struct_size", std::to_string(wrong)}});
    EXPECT_THAT(bytes_of(&given, sizeof given), ::testing::Each(Canaries<T>::kCanary)) << wrong;
  }
  for (const size_t more : {size_t{0}, size_t{8}, size_t{32}}) {
    Canaries<T> given;
    EXPECT_EQ(
        outcome_of([&](hashevict_error* error) { return init_sized(&given.known, sizeof(T) + more, error); }).status,
        HASHEVICT_OK);
    EXPECT_EQ(given.known.struct_size, sizeof(T) + more);
    given.known.struct_size = sizeof(T);
    EXPECT_EQ(bytes_of(&given.known, sizeof(T)), bytes_of(&expected.known, sizeof(T)));
    for (size_t i = 0; i < given.behind.size(); ++i) {
      EXPECT_EQ(given.behind[i], i < more ? std::byte{0} : Canaries<T>::kCanary) << i;
    }
  }
  init(nullptr);
  expect_refused(outcome_of([&](hashevict_error* error) { return init_sized(nullptr, sizeof(T), error); }),
                 {kInvalid, {name, "NULL"}});
}

TEST(StructSize, OfInitialisedStructsIsTheCallers) {
  expect_init_sized<hashevict_config>("config", hashevict_config_init, hashevict_config_init_sized);
  expect_init_sized<hashevict_memory>("memory", hashevict_memory_init, hashevict_memory_init_sized);
  expect_init_sized<hashevict_step>("step", hashevict_step_init, hashevict_step_init_sized);
}

TEST(StructSize, OfAConfigThatAPresetIsAppliedToIsHonoured) {
  Canaries<hashevict_config> given;
  ASSERT_EQ(hashevict_config_init_sized(&given.known, sizeof(hashevict_config) + 8, nullptr), HASHEVICT_OK);
  ASSERT_EQ(hashevict_config_apply_preset(&given.known, HASHEVICT_PRESET_RECALL, nullptr), HASHEVICT_OK);
  EXPECT_EQ(given.known.struct_size, sizeof(hashevict_config) + 8);
  EXPECT_EQ(given.known.policy, HASHEVICT_POLICY_MAJORITY);
  for (size_t i = 8; i < given.behind.size(); ++i) EXPECT_EQ(given.behind[i], given.kCanary);
  given.known.struct_size = 16;
  const std::vector<std::byte> before = bytes_of(&given, sizeof given);
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_config_apply_preset(&given.known, HASHEVICT_PRESET_PAPER, error);
                 }),
                 {kInvalid, {"config", "struct_size", "= 16"}});
  EXPECT_EQ(bytes_of(&given, sizeof given), before);
}

}  // namespace
}  // namespace hashevict::test
