// SPDX-License-Identifier: Apache-2.0
// A cache uses the memory that the caller lends, and touches nothing around it.
#include <algorithm>
#include <memory>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// All memory that a strided config needs.
struct AllLent {
  explicit AllLent(const Config& config)
      : bytes{Cache::required_bytes(config)}, state{bytes.state}, workspace{bytes.workspace} {
    const uint64_t per_layer = bytes.keys / static_cast<uint64_t>(config.shape.num_layers);
    for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
      keys.push_back(std::make_unique<GuardedBuffer>(per_layer));
      values.push_back(std::make_unique<GuardedBuffer>(per_layer));
      memory.keys.push_back(keys.back()->data());
      memory.values.push_back(values.back()->data());
    }
    memory.state = state.data();
    memory.state_bytes = bytes.state;
    memory.workspace = workspace.data();
    memory.workspace_bytes = bytes.workspace;
  }

  [[nodiscard]] bool guards_intact() const {
    const auto intact = [](const auto& buffer) { return buffer->guards_intact(); };
    return state.guards_intact() && workspace.guards_intact() && std::all_of(keys.begin(), keys.end(), intact) &&
           std::all_of(values.begin(), values.end(), intact);
  }

  Bytes bytes;
  std::vector<std::unique_ptr<GuardedBuffer>> keys, values;
  GuardedBuffer state, workspace;
  Memory memory;
};

TEST(RequiredBytes, AddUp) {
  for (const Layout layout : {Layout::head_major, Layout::slot_major, Layout::paged, Layout::paged_per_head}) {
    Config config = small_config();
    config.placement.layout = layout;
    const Bytes bytes = Cache::required_bytes(config);
    EXPECT_EQ(bytes.total, bytes.keys + bytes.values + bytes.state + bytes.workspace);
    EXPECT_LE(bytes.codes + bytes.positions, bytes.state);
    const uint64_t dense = layout >= Layout::paged ? 0 : 2 * 3 * 2 * 20 * 16 * sizeof(float);
    EXPECT_EQ(bytes.keys, dense);
    EXPECT_EQ(bytes.values, dense);
    EXPECT_GE(bytes.codes, 2U * 3 * 2 * 20 * 2);
    EXPECT_GE(bytes.positions, 2U * 3 * 2 * 20 * 4);
  }
}

TEST(RequiredBytes, FollowTheSumOfCapacities) {
  Config config = small_config();
  config.shape.capacities = {15, 30, 16, 200};
  const Bytes bytes = Cache::required_bytes(config);
  EXPECT_EQ(bytes.keys, 3U * (15 + 30 + 16 + 200) * 16 * sizeof(float));
  EXPECT_EQ(bytes.codes, 3U * (64 + 64 + 64 + 256) * 2);  // each head's slots padded to 64, codes of two bytes
  EXPECT_EQ(bytes.positions, 3U * (64 + 64 + 64 + 256) * 4);
}

TEST(RequiredBytes, FollowTheStorageDtype) {
  Config config = small_config();
  config.shape.dtype = DType::bfloat16;
  EXPECT_EQ(2 * Cache::required_bytes(config).keys, Cache::required_bytes(small_config()).keys);
}

TEST(LentMemory, IsWhereTheStateLies) {
  const Config config = small_config();
  const AllLent lent{config};
  Cache cache{config, lent.memory};
  feed(cache, 1, 30, 1);
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const View view = cache.view(layer, 0);
    EXPECT_EQ(view.keys.data, lent.keys[static_cast<size_t>(layer)]->data());
    EXPECT_EQ(view.values.data, lent.values[static_cast<size_t>(layer)]->data());
    for (const Tensor& tensor : {view.codes, view.positions, view.lengths, view.tokens_seen}) {
      EXPECT_TRUE(lent.state.contains(tensor.data));
    }
  }
}

TEST(LentMemory, IsNeverLeft) {
  for (const Policy policy : {Policy::hash, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
    for (const int32_t threads : {1, 3}) {
      Config config = small_config();
      config.rule.policy = policy;
      config.rule.centering = Centering::prompt;
      config.execution.num_threads = threads;
      const AllLent lent{config};
      Cache cache{config, lent.memory};
      StepData prompt{config, 64, 2};
      prompt.set_rows({40, 0, 24});
      for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
        prompt.args.layer = layer;
        cache.prefill(prompt.args, Stream{});
      }
      feed(cache, 0, 3, 3);
      feed(cache, 2, 3, 4);
      cache.fork(0, 1, Stream{});
      const std::vector<std::byte> saved = cache.save(2, Stream{});
      cache.load(0, saved.data(), saved.size(), Stream{});
      cache.reset(1, Stream{});
      EXPECT_TRUE(lent.guards_intact()) << static_cast<int>(policy) << ", " << threads << " threads";
    }
  }
}

TEST(LentMemory, GivesTheSameStateAsOwnMemory) {
  const AllLent lent{small_config()};
  Cache with_lent{small_config(), lent.memory};
  Cache with_own{small_config()};
  for (Cache* const cache : {&with_lent, &with_own}) {
    feed(*cache, 0, 35, 7);
    feed(*cache, 2, 4, 8);
  }
  EXPECT_EQ(save_all(with_lent), save_all(with_own));
}

TEST(LentMemory, MayBePartial) {
  const AllLent lent{small_config()};
  Memory memory = lent.memory;
  memory.keys.clear();
  memory.values.clear();
  memory.workspace = nullptr;
  Cache cache{small_config(), memory};
  feed(cache, 0, 25, 1);
  EXPECT_TRUE(lent.state.contains(cache.view(1, 0).positions.data));
  EXPECT_NE(cache.view(1, 0).keys.data, nullptr);
}

TEST(LentMemory, NeedNotBeZeroed) {
  const AllLent clean{small_config()};
  const AllLent dirty{small_config()};
  std::fill_n(static_cast<std::byte*>(dirty.memory.state), dirty.memory.state_bytes, std::byte{0xFF});
  std::fill_n(static_cast<std::byte*>(dirty.memory.workspace), dirty.memory.workspace_bytes, std::byte{0xFF});
  Cache first{small_config(), clean.memory};
  Cache second{small_config(), dirty.memory};
  feed(first, 1, 33, 7);
  feed(second, 1, 33, 7);
  EXPECT_EQ(save_all(first), save_all(second));
}

TEST(LentMemory, WorkspaceContentsAreDisposable) {
  const AllLent lent{small_config()};
  Cache cache{small_config(), lent.memory};
  Cache expected{small_config()};
  for (uint64_t token = 0; token < 30; ++token) {
    std::fill_n(static_cast<std::byte*>(lent.memory.workspace), lent.memory.workspace_bytes, std::byte{0xFF});
    feed(cache, 0, 1, token);
    feed(expected, 0, 1, token);
  }
  EXPECT_EQ(save_all(cache), save_all(expected));
}

TEST(LentMemory, StridesAreHonoured) {
  // Keys and values interleaved in one buffer, slot by slot, with a gap behind each pair.
  const Config config = small_config();
  constexpr int64_t kSlot = 16 + 16 + 8;
  constexpr int64_t kHead = 20 * kSlot;
  constexpr int64_t kSequence = 2 * kHead;
  std::vector<float> buffer(2 * 3 * kSequence, kPoison);
  Memory memory;
  for (int64_t layer = 0; layer < 2; ++layer) {
    memory.keys.push_back(buffer.data() + layer * 3 * kSequence);
    memory.values.push_back(buffer.data() + layer * 3 * kSequence + 16);
  }
  memory.slot_stride = kFloat * kSlot;
  memory.head_offsets = {0, kFloat * kHead, 0, kFloat * kHead};
  memory.sequence_strides.assign(2, kFloat * kSequence);
  Cache cache{config, memory};
  Cache expected{config};
  for (Cache* const each : {&cache, &expected}) {
    feed(*each, 0, 27, 7);
    feed(*each, 1, 27, 8);
    feed(*each, 2, 27, 9);
  }
  EXPECT_EQ(save_all(cache), save_all(expected));
  for (size_t slot = 0; slot < buffer.size(); slot += kSlot) {
    const auto gap = buffer.begin() + static_cast<std::ptrdiff_t>(slot) + 32;
    ASSERT_EQ(std::count(gap, gap + 8, kPoison), 8) << "the gap behind slot " << slot / kSlot << " was written";
    ASSERT_EQ(std::count(gap - 32, gap, kPoison), 0) << "slot " << slot / kSlot << " was not filled";
  }
}

TEST(PagedMemory, BlockTableIsNeverWritten) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  const std::vector<int32_t> before = lent.block_table;
  Cache cache{config, lent.memory};
  feed(cache, 0, 60, 7);
  feed(cache, 2, 5, 8);
  cache.fork(0, 1, Stream{});
  cache.reset(0, Stream{});
  EXPECT_EQ(lent.block_table, before);
}

TEST(PagedMemory, OnlyPagesOfTheSequenceAreWritten) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  Cache cache{config, lent.memory};
  feed(cache, 1, 60, 7);
  const auto first = lent.block_table.begin() + lent.memory.block_table_stride;
  const std::vector<int32_t> own(first, first + lent.memory.block_table_stride);
  constexpr size_t kPageElements = 2 * 8 * 16;
  for (const auto& layer : lent.keys) {
    for (int64_t page = 0; page < lent.memory.num_pages; ++page) {
      const auto begin = layer.begin() + page * static_cast<int64_t>(kPageElements);
      const auto written = static_cast<int64_t>(kPageElements) - std::count(begin, begin + kPageElements, kPoison);
      const auto at = std::find(own.begin(), own.end(), page) - own.begin();
      EXPECT_EQ(written, at == 3 ? 0 : at == 2 ? 2 * 4 * 16 : kPageElements) << "page " << page;
    }
  }
}

TEST(PagedMemory, CsrTableGivesTheSameState) {
  const Config config = small_paged_config();
  PagedMemory padded{config};
  PagedMemory csr{config};
  // The same pages with two unused entries before the first list.
  csr.block_table.insert(csr.block_table.begin(), 2, -1);
  const std::array<int32_t, 4> offsets{2, 5, 8, 11};
  csr.memory.block_table = csr.block_table.data();
  csr.memory.block_table_offsets = offsets.data();
  csr.memory.block_table_length = static_cast<int64_t>(csr.block_table.size());
  csr.memory.block_table_stride = 0;
  Cache first{config, padded.memory};
  Cache second{config, csr.memory};
  for (Cache* const cache : {&first, &second}) {
    feed(*cache, 0, 31, 7);
    feed(*cache, 2, 31, 8);
  }
  EXPECT_EQ(save_all(first), save_all(second));
  EXPECT_EQ(padded.keys, csr.keys);
  EXPECT_EQ(padded.values, csr.values);
}

/// Two requests and two heads a layer: a head's pages hold what it has in a cache of its own, and no others change.
TEST(HeadPages, OnlyThoseOfTheSequenceAndTheLayerAreWritten) {
  const Config config = small_config_of_head_pages();
  PagedMemory lent{config};
  Cache cache{config, lent.memory};
  StepData data{config, 60, 7};
  data.set_rows({60});
  data.set_sequences({1});
  data.args.layer = 1;
  cache.append(data.args, Stream{});
  // Rows of layer 1, sequence 1: 20 slots in three pages and 21 in three, of a pool that both layers share.
  const int64_t stride = lent.memory.block_table_stride;
  const std::vector<int32_t> own(lent.block_table.begin() + 8 * stride, lent.block_table.begin() + 10 * stride);
  ASSERT_EQ(lent.keys.size(), 1U);
  for (const std::vector<float>* const pool : {&lent.keys[0], &lent.values[0]}) {
    for (int64_t page = 0; page < lent.memory.num_pages; ++page) {
      const auto begin = pool->begin() + page * 8 * 16;
      const auto written = 8 * 16 - std::count(begin, begin + 8 * 16, kPoison);
      const auto at = std::find(own.begin(), own.end(), page) - own.begin();
      const bool is_own = at % stride < 3 && at < 2 * stride;
      const int64_t slots = at % stride < 2 ? 8 : at == 2 ? 4 : 5;
      EXPECT_EQ(written, is_own ? slots * 16 : 0) << "page " << page;
    }
  }
}

TEST(HeadPages, CsrTableGivesTheSameState) {
  const Config config = small_config_of_head_pages();
  PagedMemory padded{config};
  PagedMemory csr{config};
  std::erase(csr.block_table, -1);
  std::vector<int32_t> offsets{0};
  for (size_t row = 0; row < 12; ++row) {  // 2 layers, 3 sequences, 2 heads
    const std::array<int32_t, 4> pages{2, 5, 3, 3};
    offsets.push_back(offsets.back() + pages[row / 6 * 2 + row % 2]);
  }
  csr.memory.block_table = csr.block_table.data();
  csr.memory.block_table_offsets = offsets.data();
  csr.memory.block_table_length = static_cast<int64_t>(csr.block_table.size());
  csr.memory.block_table_stride = 0;
  Config dense = config;
  dense.placement.layout = Layout::head_major;
  Cache first{config, padded.memory};
  Cache second{config, csr.memory};
  Cache expected{dense};
  for (Cache* const cache : {&first, &second, &expected}) {
    feed(*cache, 0, 31, 7);
    feed(*cache, 2, 50, 8);
    cache->fork(2, 1, Stream{});
  }
  EXPECT_EQ(save_all(first), save_all(expected));
  EXPECT_EQ(save_all(second), save_all(expected));
  EXPECT_EQ(padded.keys, csr.keys);
  EXPECT_EQ(padded.values, csr.values);
}

TEST(HeadPages, OfLayersWithPoolsOfTheirOwnMayHaveTheSameNumbers) {
  const Config config = small_config_of_head_pages();
  PagedMemory lent{config};
  PagedMemory other{config};
  lent.memory.keys[1] = other.keys[0].data();
  lent.memory.values[1] = other.values[0].data();
  // Layer 1 takes the pages of layer 0, whose heads have fewer slots or more.
  const auto middle = lent.block_table.begin() + 6 * lent.memory.block_table_stride;
  std::copy(lent.block_table.begin(), middle, middle);
  for (auto row = middle; row != lent.block_table.end(); row += 2 * lent.memory.block_table_stride) {
    row[2] = static_cast<int32_t>(row[lent.memory.block_table_stride + 3]);  // the first head needs a page more
  }
  Cache cache{config, lent.memory};
  Config dense = config;
  dense.placement.layout = Layout::head_major;
  Cache expected{dense};
  for (Cache* const each : {&cache, &expected}) {
    feed(*each, 0, 50, 9);
    each->fork(0, 2, Stream{});
  }
  EXPECT_EQ(save_all(cache), save_all(expected));
}

}  // namespace
}  // namespace hashevict::test
