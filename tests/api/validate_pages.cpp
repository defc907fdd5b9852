// SPDX-License-Identifier: Apache-2.0
// The contents of block tables. A batch is refused as a whole, before any of its rows has changed anything.
#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

/// A paged cache. The tests corrupt its block table after creation, since every call reads it.
class BlockTable : public ::testing::Test {
 protected:
  void expect_refused_everywhere(const std::vector<std::string>& message) {
    for (const auto operation : kAnyOperations) {
      StepData data{config_, 1, 6};
      data.set_sequences({1});
      const AnyArgs args = data.args;
      expect_refused(
          outcome_of([&](hashevict_error* error) { return operation(cache_.handle(), &args, error, nullptr); }),
          {kInvalid, message});
      EXPECT_TRUE(data.outputs_untouched());
    }
  }

  /// A table entry of sequence 1.
  [[nodiscard]] int32_t& entry(int64_t page) {
    return lent_.block_table[static_cast<size_t>(lent_.memory.block_table_stride + page)];
  }

  Config config_ = small_paged_config();
  PagedMemory lent_{config_};
  Cache cache_{config_, lent_.memory};
};

TEST_F(BlockTable, PageOutOfRangeIsRefused) {
  feed(cache_, 1, 9, 50);  // two pages in use
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t good = entry(1);
  entry(1) = static_cast<int32_t>(lent_.memory.num_pages);
  expect_refused_everywhere({"memory.block_table", "sequence 1", "[1]", "= 11", "0 to 10"});
  entry(1) = -1;
  expect_refused_everywhere({"memory.block_table", "sequence 1", "[1]", "= -1", "0 to 10"});
  entry(1) = good;
  EXPECT_EQ(save_all(cache_), before);
}

TEST_F(BlockTable, PagesThatAreNotNeededYetMayBeMissing) {
  entry(1) = entry(2) = -1;
  feed(cache_, 1, 8, 50);
  StepData data{config_, 1, 7};
  data.set_sequences({1});
  EXPECT_THROW(cache_.decode(data.args, Stream{}), Error);
  entry(1) = 0;
  EXPECT_NO_THROW(cache_.decode(data.args, Stream{}));
}

TEST_F(BlockTable, SaveForkAndLoadRefuseAPageOutOfRange) {
  feed(cache_, 1, 20, 50);
  const std::vector<std::byte> saved = cache_.save(1, Stream{});
  entry(2) = 4000;
  EXPECT_THROW((void)cache_.save(1, Stream{}), Error);
  EXPECT_THROW(cache_.fork(1, 0, Stream{}), Error);
  EXPECT_THROW(cache_.load(1, saved.data(), saved.size(), Stream{}), Error);
  EXPECT_EQ(cache_.statistics(0, 0, 0, Stream{}).tokens_seen, 0);
}

TEST_F(BlockTable, ForkOntoPagesOfTheSourceIsRefused) {
  feed(cache_, 1, 20, 50);  // three pages in use
  feed(cache_, 0, 3, 51);
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t own = lent_.block_table[2];
  for (const int64_t page : {0, 1, 2}) {
    lent_.block_table[2] = entry(page);
    expect_refused(
        outcome_of([&](hashevict_error* error) { return hashevict_fork(cache_.handle(), 1, 0, error, nullptr); }),
        {kInvalid, {"memory.block_table[sequence 0][2] = " + std::to_string(entry(page)), "a page that occurs once"}});
  }
  EXPECT_EQ(save_all(cache_), before);
  lent_.block_table[2] = own;
  EXPECT_NO_THROW(cache_.fork(1, 0, Stream{}));
}

TEST_F(BlockTable, ForkLooksAtThePagesThatAreUsed) {
  feed(cache_, 1, 8, 50);           // one page in use
  lent_.block_table[1] = entry(0);  // the target needs it only when it grows
  EXPECT_NO_THROW(cache_.fork(1, 0, Stream{}));
}

TEST_F(BlockTable, PageThatOccursTwiceInABatchIsRefused) {
  feed(cache_, 1, 9, 50);
  feed(cache_, 0, 9, 51);
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t good = entry(1);
  for (const int32_t taken : {entry(0), lent_.block_table[0], lent_.block_table[1]}) {  // of itself, of sequence 0
    entry(1) = taken;
    StepData data{config_, 2, 6};
    data.set_sequences({0, 1});
    const AnyArgs args = data.args;
    for (const auto operation : kAnyOperations) {
      expect_refused(
          outcome_of([&](hashevict_error* error) { return operation(cache_.handle(), &args, error, nullptr); }),
          {kInvalid, {"memory.block_table[sequence 1][1] = " + std::to_string(taken), "a page that occurs once"}});
      EXPECT_TRUE(data.outputs_untouched());
    }
  }
  entry(1) = good;
  EXPECT_EQ(save_all(cache_), before);
}

/// A cache with pages of single heads, of 15 and 40 slots in layer 0, of 20 and 21 in layer 1.
class HeadTable : public ::testing::Test {
 protected:
  int32_t& entry(int64_t layer, int64_t sequence, int64_t head, int64_t page) {
    const int64_t row = (layer * 3 + sequence) * 2 + head;
    return lent_.block_table[static_cast<size_t>(row * lent_.memory.block_table_stride + page)];
  }
  /// Runs every operation on a token of sequences 1 and 2 in a layer.
  void expect_refused_everywhere(int32_t layer, const std::vector<std::string>& message) {
    for (const auto operation : kAnyOperations) {
      StepData data{config_, 2, 6};
      data.set_sequences({2, 1});
      data.args.layer = layer;
      const AnyArgs args = data.args;
      expect_refused(
          outcome_of([&](hashevict_error* error) { return operation(cache_.handle(), &args, error, nullptr); }),
          {kInvalid, message});
      EXPECT_TRUE(data.outputs_untouched());
    }
  }

  Config config_ = small_config_of_head_pages();
  PagedMemory lent_{config_};
  Cache cache_{config_, lent_.memory};
};

TEST_F(HeadTable, PageOutOfRangeIsRefusedWithItsHead) {
  feed(cache_, 1, 30, 50);
  feed(cache_, 2, 30, 51);
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t good = entry(0, 1, 1, 3);
  entry(0, 1, 1, 3) = static_cast<int32_t>(lent_.memory.num_pages);
  expect_refused_everywhere(0, {"memory.block_table[layer 0, sequence 1, KV head 1][3] = 41: expected 0 to 40"});
  StepData other{config_, 1, 7};
  other.set_sequences({1});
  other.args.layer = 1;
  EXPECT_NO_THROW(cache_.attend(other.args, Stream{})) << "another layer has rows of its own";
  entry(0, 1, 1, 3) = good;
  EXPECT_EQ(save_all(cache_), before);
}

TEST_F(HeadTable, EachHeadNeedsItsOwnPagesOnly) {
  for (int64_t page = 2; page < 5; ++page) entry(0, 1, 0, page) = -1;  // 15 slots in two pages
  entry(0, 1, 1, 4) = -1;                                              // 33 slots or more
  feed(cache_, 1, 31, 50);
  StepData data{config_, 1, 7};
  data.set_sequences({1});
  EXPECT_NO_THROW(cache_.decode(data.args, Stream{}));
  EXPECT_THROW(cache_.decode(data.args, Stream{}), Error);
}

TEST_F(HeadTable, PageOfAnotherHeadOrRowIsRefused) {
  feed(cache_, 1, 30, 50);
  feed(cache_, 2, 30, 51);
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t good = entry(1, 1, 1, 2);
  for (const int32_t taken : {entry(1, 1, 1, 0), entry(1, 1, 0, 2), entry(1, 2, 1, 1)}) {
    entry(1, 1, 1, 2) = taken;
    expect_refused_everywhere(1, {"memory.block_table[layer 1, sequence 1, KV head 1][2] = " + std::to_string(taken),
                                  "a page that occurs once among those that this call uses"});
  }
  entry(1, 1, 1, 2) = good;
  EXPECT_EQ(save_all(cache_), before);
}

TEST_F(HeadTable, SaveLoadAndForkRefuseAPageOfAnotherLayer) {
  feed(cache_, 1, 30, 50);
  const std::vector<std::byte> saved = cache_.save(1, Stream{});
  const std::vector<std::byte> before = save_all(cache_);
  const int32_t good = entry(1, 1, 0, 1);
  const int32_t taken = entry(0, 1, 1, 3);
  entry(1, 1, 0, 1) = taken;
  const Refusal refusal{
      kInvalid, {"memory.block_table[layer 1, sequence 1, KV head 0][1] = " + std::to_string(taken), "occurs once"}};
  std::vector<std::byte> room(cache_.save_bytes());
  uint64_t written = 0;
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_save(cache_.handle(), 1, room.data(), room.size(), &written, error, nullptr);
                 }),
                 refusal);
  expect_refused(outcome_of([&](hashevict_error* error) {
                   return hashevict_load(cache_.handle(), 1, saved.data(), saved.size(), error, nullptr);
                 }),
                 refusal);
  expect_refused(
      outcome_of([&](hashevict_error* error) { return hashevict_fork(cache_.handle(), 1, 0, error, nullptr); }),
      refusal);
  entry(1, 1, 0, 1) = good;
  EXPECT_EQ(save_all(cache_), before);
  EXPECT_NO_THROW(cache_.fork(1, 0, Stream{}));
}

TEST_F(HeadTable, OffsetsOfARowThatLeaveTheTableAreRefused) {
  std::vector<int32_t> offsets{0};
  for (int32_t row = 0; row < 12; ++row) offsets.push_back(5 * (row + 1));
  lent_.memory.block_table_offsets = offsets.data();
  lent_.memory.block_table_length = 60;
  Cache cache{config_, lent_.memory};
  feed(cache, 1, 30, 50);
  offsets[9] = 41;  // layer 1, sequence 1: head 0 keeps [40, 41), head 1 has [41, 50)
  StepData data{config_, 1, 6};
  data.set_sequences({1});
  data.args.layer = 1;
  const AnyArgs args = data.args;
  for (const auto operation : kAnyOperations) {
    expect_refused(outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); }),
                   {kInvalid,
                    {"memory.block_table_offsets[8] = 40, [9] = 41: expected 3 pages or more for layer 1, sequence 1, "
                     "KV head 0, within the 60 entries of memory.block_table_length"}});
  }
}

TEST(BlockTableOffsets, OutsideOfTheTableAreRefused) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  std::vector<int32_t> offsets{0, 3, 6, 9};
  lent.memory.block_table_offsets = offsets.data();
  lent.memory.block_table_length = 9;
  Cache cache{config, lent.memory};
  feed(cache, 2, 20, 50);
  const std::vector<std::byte> saved = cache.save(2, Stream{});
  for (const std::array<int32_t, 2> bad : {std::array{7, 10}, {1 << 28, (1 << 28) + 3}, {INT32_MAX - 3, INT32_MAX}}) {
    offsets[2] = bad[0];
    offsets[3] = bad[1];
    const Refusal refusal{kInvalid,
                          {"memory.block_table_offsets[2] = " + std::to_string(bad[0]),
                           "[3] = " + std::to_string(bad[1]), "the 9 entries of memory.block_table_length"}};
    for (const auto operation : kAnyOperations) {
      StepData data{config, 1, 8};
      data.set_sequences({2});
      const AnyArgs args = data.args;
      expect_refused(
          outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); }),
          refusal);
      EXPECT_TRUE(data.outputs_untouched());
    }
    for (const auto& [source, target] : {std::pair{2, 0}, {0, 2}}) {
      expect_refused(outcome_of([&, s = source, t = target](hashevict_error* error) {
                       return hashevict_fork(cache.handle(), s, t, error, nullptr);
                     }),
                     refusal);
    }
    std::vector<std::byte> room(cache.save_bytes());
    uint64_t written = 0;
    expect_refused(outcome_of([&](hashevict_error* error) {
                     return hashevict_save(cache.handle(), 2, room.data(), room.size(), &written, error, nullptr);
                   }),
                   refusal);
    expect_refused(outcome_of([&](hashevict_error* error) {
                     return hashevict_load(cache.handle(), 2, saved.data(), saved.size(), error, nullptr);
                   }),
                   refusal);
  }
  offsets[2] = 6;
  offsets[3] = 9;
  EXPECT_EQ(cache.save(2, Stream{}), saved);
}

TEST(BlockTableOffsets, TooFewPagesAreRefused) {
  const Config config = small_paged_config();
  PagedMemory lent{config};
  std::vector<int32_t> offsets{0, 3, 5, 8};  // sequence 1 owns two pages of the three that it may need
  lent.memory.block_table_offsets = offsets.data();
  lent.memory.block_table_length = static_cast<int64_t>(lent.block_table.size());
  lent.memory.block_table_stride = 0;
  Cache cache{config, lent.memory};
  feed(cache, 1, 16, 50);
  StepData data{config, 1, 8};
  data.set_sequences({1});
  const AnyArgs args = data.args;
  const auto decode = [&](hashevict_error* error) { return any_decode(cache.handle(), &args, error, nullptr); };
  expect_refused(outcome_of(decode), {kInvalid, {"memory.block_table_offsets[1]", "= 3", "3 pages"}});
  offsets[1] = -1;
  expect_refused(outcome_of(decode), {kInvalid, {"memory.block_table_offsets[1]", "= -1", "3 pages"}});
  offsets[1] = 6;  // decreasing
  expect_refused(outcome_of(decode), {kInvalid, {"memory.block_table_offsets[1]", "= 6", "3 pages"}});
}

}  // namespace
}  // namespace hashevict::test
