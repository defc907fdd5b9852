// SPDX-License-Identifier: Apache-2.0
// An array `marks`, added to a layer's state by the one line of CONTRIBUTING's recipe: three numbers a slot. It must
// appear everywhere that state does.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/layer.hpp"
#include "core/state.hpp"
#include "core/validate.hpp"
#include "kernels/detail/head.cuh"
#include "kernels/detail/launch.cuh"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

constexpr auto kMarks = static_cast<std::size_t>(core::StatePartIndex::marks);
constexpr std::size_t kOfSlot = 3 * sizeof(uint16_t);
constexpr std::byte kEmpty{0x5A};

class AddedArray : public testing::TestWithParam<Backend> {
 protected:
  AddedArray() : cache_{GetParam(), small_config()}, settings_{settings_of(cache_)} {}

  static core::Settings settings_of(TestCache& cache) {
    const Config config = cache.cache().config();
    std::vector<hashevict_rule> rules;
    const hashevict_config given = config.c_config(rules);
    core::Settings settings = core::validate_config(&given);
    settings.placement.backend = given.placement.backend;
    return settings;
  }
  static std::byte* state_of(TestCache& cache, const core::StateLayout& layout) {
    const View view = cache.cache().view(0, 0);
    return const_cast<std::byte*>(view.codes.data_as<std::byte>()) -
           layout.offsets[0][static_cast<std::size_t>(core::StatePartIndex::codes)];
  }
  /// The marks of one sequence.
  std::byte* marks(TestCache& cache, int32_t sequence) {
    return state_of(cache, layout_) + layout_.offsets[0][kMarks] + static_cast<std::size_t>(sequence) * bytes();
  }
  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(settings_.layers[0].padded_slots) * kOfSlot;
  }
  [[nodiscard]] bool all(std::byte* from, std::byte value) const {
    return std::all_of(from, from + bytes(), [=](std::byte b) { return b == value; });
  }

  TestCache cache_;
  core::Settings settings_;
  core::StateLayout layout_ = core::lay_out_state(settings_);
};
INSTANTIATE_TEST_SUITE_P(Recipe, AddedArray, testing::Values(Backend::cpu, Backend::cuda),
                         [](const auto& info) { return info.param == Backend::cpu ? "Cpu" : "Host"; });

TEST_P(AddedArray, HasAPlaceOfItsOwnInTheLayoutAndTheRequiredBytes) {
  EXPECT_EQ(layout_.bytes[kMarks], static_cast<uint64_t>(settings_.shape.num_sequences) * bytes());
  for (std::size_t i = 0; i < core::kNumStateParts; ++i) {
    if (i == kMarks || layout_.bytes[i] == 0) continue;
    const bool before = layout_.offsets[0][i] + layout_.bytes[i] <= layout_.offsets[0][kMarks];
    const bool after = layout_.offsets[0][kMarks] + layout_.bytes[kMarks] <= layout_.offsets[0][i];
    EXPECT_TRUE(before || after) << "array " << i;
  }
  uint64_t sum = 0;
  for (const uint64_t part : layout_.bytes) sum += part;
  EXPECT_GE(Cache::required_bytes(cache_.cache().config()).state, sum);
}

TEST_P(AddedArray, IsEmptiedByConstructionAndReset) {
  for (const int32_t sequence : {0, 1}) EXPECT_TRUE(all(marks(cache_, sequence), kEmpty));
  std::fill_n(marks(cache_, 0), 2 * bytes(), std::byte{1});
  cache_.cache().reset(1, Stream{});
  EXPECT_TRUE(all(marks(cache_, 0), std::byte{1}));
  EXPECT_TRUE(all(marks(cache_, 1), kEmpty));
}

TEST_P(AddedArray, IsForked) {
  std::fill_n(marks(cache_, 0), bytes(), std::byte{2});
  cache_.cache().fork(0, 1, Stream{});
  EXPECT_TRUE(all(marks(cache_, 1), std::byte{2}));
}

TEST_P(AddedArray, TravelsInASnapshotAsFarAsSlotsAreInUse) {
  constexpr int32_t kLength = 9;
  cache_.run(Operation::append, {{0, Inputs{1}.draw(cache_.config(), kLength)}});
  std::fill_n(marks(cache_, 0), bytes(), std::byte{3});
  const std::vector<std::byte> saved = cache_.cache().save(0, Stream{});
  TestCache other{GetParam(), cache_.config()};
  other.cache().load(1, saved.data(), saved.size(), Stream{});
  const std::size_t of_head = bytes() / static_cast<std::size_t>(settings_.shape.num_kv_heads);
  for (std::size_t i = 0; i < bytes(); ++i) {
    EXPECT_EQ(marks(other, 1)[i], i % of_head < kLength * kOfSlot ? std::byte{3} : kEmpty) << "byte " << i;
  }
}

/// Marks slot 5 of a head.
void mark(core::Layer layer) {
  simt::wait_for_launch_before();
  const core::Head head = kernels::head_of(layer, 1, simt::block_x());
  simt::store(head.marks + 5 * 3, static_cast<uint16_t>(40 + simt::block_x()));
}

TEST_P(AddedArray, IsAmongWhatKernelsGet) {
  core::Layer layer{settings_.layers[0], 0, settings_.shape, nullptr, nullptr, {}, {}, {}};
  layer.state = core::state_pointers(settings_, layout_, 0, state_of(cache_, layout_));
  ASSERT_EQ(simt::prepare(mark).error, nullptr);
  ASSERT_EQ(simt::launch(mark, {settings_.shape.num_kv_heads, 1, 1, 0}, layer, {}), nullptr);
  const std::size_t of_head = bytes() / static_cast<std::size_t>(settings_.shape.num_kv_heads);
  for (int32_t head = 0; head < settings_.shape.num_kv_heads; ++head) {
    uint16_t found = 0;
    std::memcpy(&found, marks(cache_, 1) + static_cast<std::size_t>(head) * of_head + 5 * kOfSlot, sizeof found);
    EXPECT_EQ(found, 40 + head);
  }
}

}  // namespace
}  // namespace hashevict::test
