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

/// Structs that the library fills. It writes at most struct_size bytes, sets fields that it does not know to zero, and
/// refuses a struct smaller than its oldest version.
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
  expect_sized<hashevict_view>("view", [&](auto* r, E* e) { return hashevict_get_view(cache, 0, 0, r, e); });
  expect_sized<hashevict_config>("config", [&](auto* r, E* e) { return hashevict_get_config(cache, r, e); });
  expect_sized<hashevict_statistics>(
      "statistics", [&](auto* r, E* e) { return hashevict_get_statistics(cache, -1, -1, -1, r, e, nullptr); });
  expect_sized<hashevict_capabilities>(
      "capabilities", [&](auto* r, E* e) { return hashevict_get_capabilities(HASHEVICT_BACKEND_CPU, r, e); });
}

/// A struct of the library, with other memory of the caller around it.
template <class T>
struct Canaries {
  static constexpr std::byte kCanary{0xA5};
  Canaries() { std::memset(static_cast<void*>(this), static_cast<int>(kCanary), sizeof *this); }
  T known;
  std::array<std::byte, 32> behind;
};

/// Structs that the caller fills. The library honours their size: it refuses one that is too small, and nonzero bytes
/// behind the fields that it knows.
template <class Args>
void expect_args_sized(hashevict_status (*operation)(hashevict_cache*, const Args*, E*, hashevict_stream)) {
  Cache cache = used_cache();
  const StepData data{small_config(), 3, 5};
  struct {
    Args known;
    uint64_t newer;
  } args{data.args.as<Args>(), 0};
  const auto call = [&](E* error) { return operation(cache.handle(), &args.known, error, nullptr); };
  size_t oldest = sizeof(Args);  // that of 0.2
  if constexpr (requires { args.known.queries; }) {
    oldest = offsetof(Args, queries);
  } else if constexpr (requires { args.known.importance; }) {
    oldest = offsetof(Args, importance);
  }
  for (const size_t wrong : {size_t{0}, size_t{8}, oldest - 8, size_t{65537}, SIZE_MAX}) {
    args.known.struct_size = wrong;
    expect_refused(outcome_of(call), {kInvalid, {"args->struct_size = " + std::to_string(wrong) + ": expected"}});
  }
  for (const size_t size : {oldest, sizeof(Args), sizeof args}) {
    args.known.struct_size = size;
    EXPECT_EQ(outcome_of(call).status, HASHEVICT_OK);
  }
  args.newer = 1;
  expect_refused(outcome_of(call), {kInvalid, {"args->struct_size = " + std::to_string(sizeof args)}});
  EXPECT_TRUE(sizeof(Args) == sizeof args - 8);
}

TEST(StructSize, OfArgumentsIsHonoured) {
  expect_args_sized<hashevict_prefill_args>(hashevict_prefill);
  expect_args_sized<hashevict_evict_args>(hashevict_evict);
  expect_args_sized<hashevict_append_args>(hashevict_append);
  expect_args_sized<hashevict_attend_args>(hashevict_attend);
  expect_args_sized<hashevict_decode_args>(hashevict_decode);
}

/// An init function of the header sets struct_size to the header's own and everything else to 0.
template <class T>
void expect_zeros(void (*init)(T*)) {
  Canaries<T> given;
  init(&given.known);
  EXPECT_EQ(given.known.struct_size, sizeof(T));
  EXPECT_THAT(given.behind, ::testing::Each(Canaries<T>::kCanary));
  given.known.struct_size = 0;
  EXPECT_THAT(bytes_of(&given.known, sizeof(T)), ::testing::Each(std::byte{0}));
}

TEST(StructSize, OfStructsThatStartAsZerosIsTheHeaders) {
  expect_zeros(hashevict_memory_init);
  expect_zeros(hashevict_bytes_init);
  expect_zeros(hashevict_view_init);
  expect_zeros(hashevict_statistics_init);
  expect_zeros(hashevict_capabilities_init);
  expect_zeros(hashevict_prefill_args_init);
  expect_zeros(hashevict_evict_args_init);
  expect_zeros(hashevict_append_args_init);
  expect_zeros(hashevict_attend_args_init);
  expect_zeros(hashevict_decode_args_init);
}

TEST(StructSize, OfAnInitialisedConfigIsTheCallers) {
  using Given = Canaries<hashevict_config>;
  Given expected;
  hashevict_config_init(&expected.known);
  EXPECT_EQ(expected.known.struct_size, sizeof(hashevict_config));
  EXPECT_THAT(expected.behind, ::testing::Each(Given::kCanary));
  for (const size_t wrong : {size_t{0}, size_t{8}, sizeof(hashevict_config) - 8, SIZE_MAX}) {
    Given given;
    expect_refused(outcome_of([&](E* error) { return hashevict_config_init_sized(&given.known, wrong, error); }),
                   {kInvalid, {"config", "struct_size", std::to_string(wrong)}});
    EXPECT_THAT(bytes_of(&given, sizeof given), ::testing::Each(Given::kCanary)) << wrong;
  }
  for (const size_t more : {size_t{0}, size_t{8}, size_t{32}}) {
    Given given;
    const size_t size = sizeof(hashevict_config) + more;
    EXPECT_EQ(outcome_of([&](E* error) { return hashevict_config_init_sized(&given.known, size, error); }).status,
              HASHEVICT_OK);
    EXPECT_EQ(given.known.struct_size, size);
    given.known.struct_size = sizeof(hashevict_config);
    EXPECT_EQ(bytes_of(&given.known, sizeof given.known), bytes_of(&expected.known, sizeof expected.known));
    for (size_t i = 0; i < given.behind.size(); ++i) {
      EXPECT_EQ(given.behind[i], i < more ? std::byte{0} : Given::kCanary) << i;
    }
  }
  hashevict_config_init(nullptr);
  expect_refused(outcome_of([&](E* error) { return hashevict_config_init_sized(nullptr, 8, error); }),
                 {kInvalid, {"config", "NULL"}});
}

}  // namespace
}  // namespace hashevict::test
