// SPDX-License-Identifier: Apache-2.0
// Views and statistics agree with the contents of the cache.
#include <map>

#include "support.hpp"

namespace hashevict::test {
namespace {

std::vector<int64_t> shape_of(const Tensor& tensor) {
  return {tensor.shape, tensor.shape + tensor.rank};
}
std::vector<int64_t> stride_of(const Tensor& tensor) {
  return {tensor.stride, tensor.stride + tensor.rank};
}

/// Element `[i, j, 0]` (or `[i, j]`, or `[i]`) of a tensor.
template <class T>
const T* element(const Tensor& tensor, int64_t i, int64_t j = 0) {
  return tensor.data_as<const T>() + i * tensor.stride[0] + (tensor.rank > 1 ? j * tensor.stride[1] : 0);
}

using ::testing::ElementsAre;

TEST(View, ShapesAndStridesOfHeadMajor) {
  const Cache cache{small_config()};
  const View view = cache.view(1, 0);
  EXPECT_THAT(shape_of(view.keys), ElementsAre(3, 20, 16));
  EXPECT_THAT(stride_of(view.keys), ElementsAre(640, 16, 1));
  EXPECT_EQ(cache.view(1, 1).keys.data_as<const float>(), view.keys.data_as<const float>() + 320);
  EXPECT_EQ(stride_of(view.values), stride_of(view.keys));
  EXPECT_EQ(view.keys.element_type(), DType::float32);
  EXPECT_THAT(shape_of(view.codes), ElementsAre(3, 20, 2));
  EXPECT_EQ(view.codes.element_type(), DType::uint8);
  EXPECT_EQ(view.codes.stride[2], 1);
  EXPECT_THAT(shape_of(view.positions), ElementsAre(3, 20));
  EXPECT_EQ(view.positions.element_type(), DType::int32);
  EXPECT_THAT(shape_of(view.lengths), ElementsAre(3));
  EXPECT_THAT(stride_of(view.lengths), ElementsAre(2));
  EXPECT_THAT(shape_of(view.tokens_seen), ElementsAre(3));
  EXPECT_THAT(stride_of(view.tokens_seen), ElementsAre(2));
  EXPECT_EQ(view.lengths.element_type(), DType::int32);
  EXPECT_EQ(view.tokens_seen.element_type(), DType::int32);
}

TEST(View, StridesOfSlotMajor) {
  Config config = small_config();
  config.placement.layout = Layout::slot_major;
  config.shape.dtype = DType::float16;
  const Cache cache{config};
  const View view = cache.view(0, 0);
  EXPECT_THAT(shape_of(view.keys), ElementsAre(3, 20, 16));
  EXPECT_THAT(stride_of(view.keys), ElementsAre(640, 32, 1));
  EXPECT_EQ(cache.view(0, 1).keys.data_as<const uint16_t>(), view.keys.data_as<const uint16_t>() + 16);
  EXPECT_EQ(view.values.element_type(), DType::float16);
}

TEST(View, ShapesAndStridesOfPaged) {
  const Config config = small_paged_config();
  const PagedMemory lent{config};
  const Cache cache{config, lent.memory};
  const View view = cache.view(0, 1);
  EXPECT_THAT(shape_of(view.keys), ElementsAre(lent.memory.num_pages, 8, 16));
  EXPECT_THAT(stride_of(view.keys), ElementsAre(256, 16, 1));
  EXPECT_EQ(view.keys.data_as<const float>(), lent.keys[0].data() + 128);
  EXPECT_THAT(shape_of(view.codes), ElementsAre(3, 20, 2));
}

TEST(View, ShapesFollowTheHeadsCapacities) {
  Config config = small_config();
  config.shape.capacities = {15, 33, 100, 20};
  const Cache cache{config};
  for (int32_t head = 0; head < 4; ++head) {
    const View view = cache.view(head / 2, head % 2);
    const int32_t capacity = config.shape.capacities[static_cast<size_t>(head)];
    EXPECT_EQ(view.keys.shape[1], capacity);
    EXPECT_EQ(view.positions.shape[1], capacity);
    EXPECT_EQ(view.codes.shape[1], capacity);
    EXPECT_EQ(view.keys.stride[0], (head < 2 ? 48 : 120) * 16);
    EXPECT_EQ(view.positions.stride[0], head < 2 ? 2 * 64 : 128 + 64);
  }
  EXPECT_EQ(cache.view(1, 1).keys.data_as<const float>(), cache.view(1, 0).keys.data_as<const float>() + 100 * 16);
  EXPECT_EQ(cache.view(1, 1).lengths.data_as<const int32_t>(), cache.view(1, 0).lengths.data_as<const int32_t>() + 1);
}

TEST(View, OfAnEmptySequenceHoldsNoPositions) {
  const Cache cache{small_config()};
  for (int32_t head = 0; head < 2; ++head) {
    const View view = cache.view(0, head);
    for (int64_t sequence = 0; sequence < 3; ++sequence) {
      EXPECT_EQ(*element<int32_t>(view.lengths, sequence), 0);
      EXPECT_EQ(*element<int32_t>(view.tokens_seen, sequence), 0);
      for (int64_t slot = 0; slot < 20; ++slot) EXPECT_EQ(*element<int32_t>(view.positions, sequence, slot), -1);
    }
  }
}

/// Runs `tokens` decode steps of sequence 1, layer 0, and compares every slot with its input.
void expect_slots_hold_what_was_stored(Cache& cache, int32_t tokens) {
  const Config config = cache.config();
  StepData data{config, tokens, 11};
  data.set_sequences({1});
  data.set_rows({tokens});
  cache.decode(data.args, Stream{});
  std::vector<uint8_t> codes(static_cast<size_t>(tokens) * 2 * 2);
  cache.encode(0, 1, EncodeAs::keys, data.args.k, Tensor{codes.data(), {tokens, 2, 2}}, Stream{});
  for (size_t head = 0; head < 2; ++head) {
    const View view = cache.view(0, static_cast<int32_t>(head));
    const auto capacity = static_cast<int32_t>(view.keys.shape[1]);
    const int32_t length = std::min(tokens, capacity);
    EXPECT_EQ(*element<int32_t>(view.lengths, 1), length);
    EXPECT_EQ(*element<int32_t>(view.tokens_seen, 1), tokens);
    std::map<int32_t, int32_t> slot_of;  // by position, as reported by the step
    for (size_t token = 0; token < static_cast<size_t>(tokens); ++token) {
      const int32_t victim = data.victims[2 * token + head];
      if (victim >= 0) {
        EXPECT_EQ(slot_of.erase(victim), 1U) << "position " << victim << " was not held";
      }
      slot_of[static_cast<int32_t>(token)] = data.slots[2 * token + head];
    }
    ASSERT_EQ(slot_of.size(), static_cast<size_t>(length));
    for (const auto& [position, slot] : slot_of) {
      const size_t row = (static_cast<size_t>(position) * 2 + head) * 16;
      EXPECT_EQ(*element<int32_t>(view.positions, 1, slot), position);
      EXPECT_EQ(std::vector<float>(element<float>(view.keys, 1, slot), element<float>(view.keys, 1, slot) + 16),
                std::vector<float>(data.k.data() + row, data.k.data() + row + 16));
      EXPECT_EQ(std::vector<float>(element<float>(view.values, 1, slot), element<float>(view.values, 1, slot) + 16),
                std::vector<float>(data.v.data() + row, data.v.data() + row + 16));
      const uint8_t* const code = element<uint8_t>(view.codes, 1, slot);
      EXPECT_EQ(code[0], codes[(static_cast<size_t>(position) * 2 + head) * 2]);
      EXPECT_EQ(code[1], codes[(static_cast<size_t>(position) * 2 + head) * 2 + 1]);
    }
    for (int64_t slot = length; slot < capacity; ++slot) {
      EXPECT_EQ(*element<int32_t>(view.positions, 1, slot), -1);
    }
  }
}

TEST(View, HoldsWhatWasStored) {
  for (const Layout layout : {Layout::head_major, Layout::slot_major}) {
    for (const int32_t tokens : {1, 12, 20, 21, 55}) {
      Config config = small_config();
      config.placement.layout = layout;
      Cache cache{config};
      expect_slots_hold_what_was_stored(cache, tokens);
    }
  }
}

TEST(View, OfRaggedHeadsHoldsWhatWasStored) {
  for (const int32_t tokens : {1, 20, 55}) {
    Config config = small_config();
    config.shape.capacities = {15, 40, 20, 20};
    Cache cache{config};
    expect_slots_hold_what_was_stored(cache, tokens);
  }
}

TEST(View, StaysValidOverOperationsAndMoves) {
  Cache cache{small_config()};
  const View before = cache.view(1, 1);
  feed(cache, 0, 40, 1);
  cache.reset(Stream{});
  const Cache moved{std::move(cache)};
  const View after = moved.view(1, 1);
  EXPECT_EQ(bytes_of(&before, sizeof before), bytes_of(&after, sizeof after));
}

TEST(Statistics, CountPerLayerHeadAndSequence) {
  Cache cache = used_cache();  // sequence 0 has seen 27 tokens in 20 slots, sequence 1 nine, sequence 2 none
  const Statistics first = cache.statistics(1, 1, 0, Stream{});
  EXPECT_EQ(first.tokens_seen, 27);
  EXPECT_EQ(first.slots_used, 20);
  EXPECT_EQ(first.slots_total, 20);
  EXPECT_EQ(first.evictions, 7);
  const uint64_t token_bytes = 2 * 16 * sizeof(float);  // key and value of a head
  EXPECT_EQ(first.kv_bytes, 20 * token_bytes);
  EXPECT_EQ(first.kv_bytes_full, 27 * token_bytes);
  const Statistics second = cache.statistics(0, 0, 1, Stream{});
  EXPECT_EQ(second.tokens_seen, 9);
  EXPECT_EQ(second.slots_used, 9);
  EXPECT_EQ(second.evictions, 0);
  EXPECT_EQ(second.kv_bytes, second.kv_bytes_full);
  EXPECT_EQ(cache.statistics(0, 0, 2, Stream{}).tokens_seen, 0);
}

TEST(Statistics, AreSummedWhereAsked) {
  Cache cache = used_cache();
  EXPECT_EQ(cache.statistics(0, 0, -1, Stream{}).tokens_seen, 36);
  EXPECT_EQ(cache.statistics(-1, 0, 0, Stream{}).tokens_seen, 54);
  EXPECT_EQ(cache.statistics(0, -1, 0, Stream{}).tokens_seen, 54);
  const Statistics all = cache.statistics(Stream{});
  EXPECT_EQ(all.tokens_seen, 144);
  EXPECT_EQ(all.slots_used, 116);
  EXPECT_EQ(all.slots_total, 240);
  EXPECT_EQ(all.evictions, 28);
}

TEST(Statistics, FollowTheStorageDtypeAndTheHeadsCapacities) {
  Config config = small_config();
  config.shape.dtype = DType::bfloat16;
  config.shape.capacities = {15, 30, 20, 100};
  Cache cache{config};
  feed(cache, 0, 25, 3);
  const Statistics all = cache.statistics(-1, -1, 0, Stream{});
  EXPECT_EQ(all.slots_used, 15 + 25 + 20 + 25);
  EXPECT_EQ(all.slots_total, 165);
  EXPECT_EQ(all.evictions, 10 + 5);
  EXPECT_EQ(all.kv_bytes, 85U * 2 * 16 * 2);
  EXPECT_EQ(all.kv_bytes_full, 100U * 2 * 16 * 2);
}

}  // namespace
}  // namespace hashevict::test
