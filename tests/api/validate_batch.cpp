// SPDX-License-Identifier: Apache-2.0
// The contents of index arrays: offsets and sequences. A batch is refused as a whole, before any of
// its rows has changed anything.
#include <cstring>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

struct BatchCase {
  std::string name;
  std::vector<int32_t> sequences;  ///< row_to_sequence; empty: absent
  std::vector<int32_t> offsets;    ///< cu_seqlens; empty: absent
  std::vector<std::string> message;

  friend void PrintTo(const BatchCase& row, std::ostream* stream) { *stream << row.name; }
};

// The step has three tokens; the cache has three sequences.
const std::vector<BatchCase> kBadBatches{
    {"SequenceBeyondLast", {0, 3, 1}, {}, {"args.batch.row_to_sequence[1]", "= 3", "-1 to 2"}},
    {"SequenceBelowSkip", {0, 1, -2}, {}, {"args.batch.row_to_sequence[2]", "= -2", "-1 to 2"}},
    {"SequenceHuge", {INT32_MAX, 0, 1}, {}, {"args.batch.row_to_sequence[0]", "= 2147483647", "-1 to 2"}},
    {"SequenceTwice", {1, 0, 1}, {}, {"args.batch.row_to_sequence[2]", "= 1", "each sequence in one row"}},
    {"SequenceTwiceInEmptyRow", {0, 0}, {0, 3, 3}, {"args.batch.row_to_sequence[1]", "= 0", "one row"}},
    {"OffsetsDoNotStartAtZero", {0, 1}, {1, 2, 3}, {"args.batch.cu_seqlens[0]", "= 1", "expected 0"}},
    {"OffsetsStartBelowZero", {0, 1}, {-1, 2, 3}, {"args.batch.cu_seqlens[0]", "= -1", "expected 0"}},
    {"OffsetsDecrease", {0, 1, 2}, {0, 2, 1, 3}, {"args.batch.cu_seqlens[2]", "= 1", "2 to 3"}},
    {"OffsetsLeaveTheTokens", {0, 1, 2}, {0, 2, 9, 3}, {"args.batch.cu_seqlens[2]", "= 9", "2 to 3"}},
    {"OffsetsDecreaseInSkippedRow", {0, -1, 2}, {0, 2, 1, 3}, {"args.batch.cu_seqlens[2]", "= 1", "2 to 3"}},
    {"OffsetsEndBeforeTheLastToken",
     {0, 1},
     {0, 1, 2},
     {"args.batch.cu_seqlens[2]", "= 2", "expected 3, the number of tokens"}},
    {"OffsetsEndBehindTheLastToken",
     {0, 1},
     {0, 1, 4},
     {"args.batch.cu_seqlens[2]", "= 4", "expected 3, the number of tokens"}},
    {"NoRowsForTokens", {}, {0}, {"args.batch.cu_seqlens[0]", "= 0", "expected 3, the number of tokens"}},
    {"GoodRowsBeforeTheBadOne", {2, 1, 77}, {}, {"args.batch.row_to_sequence[2]", "= 77", "-1 to 2"}},
};

class BadBatch : public ::testing::TestWithParam<BatchCase> {};

TEST_P(BadBatch, IsRefusedAndChangesNothing) {
  const BatchCase& row = GetParam();
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  for (const auto operation : kAnyOperations) {
    StepData data{small_config(), 3, 1};
    if (!row.sequences.empty()) data.set_sequences(row.sequences);
    if (!row.offsets.empty()) {
      data.cu_seqlens = row.offsets;
      data.args.batch.cu_seqlens = Tensor{data.cu_seqlens.data(), {static_cast<int64_t>(data.cu_seqlens.size())}};
    }
    const AnyArgs args = data.args;
    expect_refused(outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); }),
                   {kInvalid, row.message});
    EXPECT_TRUE(data.outputs_untouched());
  }
  EXPECT_EQ(save_all(cache), before);
}

INSTANTIATE_TEST_SUITE_P(Contents, BadBatch, ::testing::ValuesIn(kBadBatches),
                         [](const auto& info) { return info.param.name; });

TEST(Batch, EmptyBatchIsANoOpAndNeedsNoMemory) {
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  float somewhere = 0;
  int32_t index = 0;
  for (const bool absent : {false, true}) {
    SCOPED_TRACE(absent ? "data is NULL" : "data is not NULL");
    float* const data = absent ? nullptr : &somewhere;
    int32_t* const numbers = absent ? nullptr : &index;
    AnyArgs args;
    args.q = Tensor{data, {0, 4, 16}};
    args.k = Tensor{data, {0, 2, 16}};
    args.v = args.k;
    args.out = args.q;
    args.lse = Tensor{data, {0, 4}};
    args.slots = args.victims = Tensor{numbers, {0, 2}};
    args.batch.row_to_sequence = Tensor{numbers, {0}};
    const AnyArgs c = args;
    for (const auto operation : kAnyOperations) {
      EXPECT_EQ(
          outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &c, error, nullptr); }).status,
          HASHEVICT_OK);
    }
    const Tensor codes{reinterpret_cast<uint8_t*>(data), {0, 2, 2}};
    EXPECT_NO_THROW(cache.encode(0, 0, EncodeAs::keys, args.k, codes, Stream{}));
  }
  EXPECT_EQ(save_all(cache), before);
}

TEST(Batch, RowsWithoutTokensNeedNoMemory) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    Cache cache = used_cache();
    const std::vector<std::byte> before = save_all(cache);
    StepData data{small_config(), 0, 2};
    for (Tensor* const tensor : {&data.args.q, &data.args.k, &data.args.v, &data.args.out}) tensor->data = nullptr;
    data.set_sequences({0, 2});
    data.set_rows({0, 0});
    data.args.mode = static_cast<int32_t>(mode);
    const AnyArgs args = data.args;
    for (const auto operation : kAnyOperations) {
      EXPECT_EQ(
          outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); }).status,
          HASHEVICT_OK);
    }
    EXPECT_EQ(save_all(cache), before);
  }
}

TEST(Batch, SkippedRowsStayUntouched) {
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  StepData data{small_config(), 3, 2};
  data.set_sequences({-1, -1, -1});
  cache.decode(data.args, Stream{});
  cache.prefill(data.args, Stream{});
  EXPECT_TRUE(data.outputs_untouched());
  EXPECT_EQ(save_all(cache), before);
}

TEST(Batch, RowsMayBeSkippedAnyNumberOfTimesBesideOthers) {
  Cache cache = used_cache();
  StepData data{small_config(), 5, 3};
  data.set_sequences({-1, 2, -1, 0, -1});
  cache.decode(data.args, Stream{});
  EXPECT_EQ(data.slots[0], kIndexPoison);
  EXPECT_EQ(data.slots[2], 0);  // row 1: the first token of sequence 2, in both heads
  EXPECT_EQ(data.slots[3], 0);
  EXPECT_EQ(data.slots[4], kIndexPoison);
  EXPECT_GE(data.victims[6], 4);  // row 3: sequence 0 is full, and sinks stay
  EXPECT_EQ(data.slots[8], kIndexPoison);
  EXPECT_EQ(cache.statistics(0, 0, 2, Stream{}).tokens_seen, 1);
}

TEST(Batch, RowsMayBringNoTokens) {
  Cache cache = used_cache();
  StepData data{small_config(), 2, 4};
  data.set_sequences({2, 0, 1});
  data.set_rows({0, 2, 0});
  cache.append(data.args, Stream{});
  EXPECT_EQ(cache.statistics(0, 0, 0, Stream{}).tokens_seen, 29);
  EXPECT_EQ(cache.statistics(0, 0, 1, Stream{}).tokens_seen, 9);
  EXPECT_EQ(cache.statistics(0, 0, 2, Stream{}).tokens_seen, 0);
}

TEST(Batch, PromptRowsWithoutTokensLeaveFullSequencesAlone) {
  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    Cache cache = used_cache();  // sequence 0 has evicted tokens
    StepData query{small_config(), 1, 1};
    cache.attend(query.args, Stream{});
    const std::vector<float> before = query.out;
    StepData data{small_config(), 2, 4};
    data.set_rows({0, 2});
    data.args.mode = static_cast<int32_t>(mode);
    cache.prefill(data.args, Stream{});
    cache.attend(query.args, Stream{});
    EXPECT_EQ(query.out, before) << static_cast<int>(mode);
    EXPECT_EQ(cache.statistics(0, 0, 0, Stream{}).tokens_seen, 27);
    EXPECT_EQ(cache.statistics(0, 0, 1, Stream{}).tokens_seen, 11);
  }
}

TEST(Batch, MoreQueriesThanTokensSeenAreRefused) {
  Cache cache = used_cache();  // sequence 1 has seen 9 tokens
  StepData data{small_config(), 10, 5};
  data.set_sequences({1});
  data.set_rows({10});
  const AnyArgs args = data.args;
  expect_refused(outcome_of([&](hashevict_error* error) { return any_attend(cache.handle(), &args, error, nullptr); }),
                 {kInvalid, {"row 0", "10 query tokens", "at most 9", "sequence 1 has seen 9 tokens"}});
  EXPECT_TRUE(data.outputs_untouched());
}

TEST(Batch, SeveralQueriesOfASequenceThatHasEvictedAreRefused) {
  Cache cache = used_cache();  // sequence 0 has seen 27 tokens, of which 20 are held
  StepData data{small_config(), 3, 5};
  data.set_sequences({1, 0});
  data.set_rows({1, 2});
  const AnyArgs args = data.args;
  const std::vector<std::byte> before = save_all(cache);
  expect_refused(
      outcome_of([&](hashevict_error* error) { return any_attend(cache.handle(), &args, error, nullptr); }),
      {HASHEVICT_INVALID_STATE,
       {"attend", "row 1 brings 2 query tokens", "at most 1", "sequence 0 has seen 27 tokens", "capacity of 20"}});
  EXPECT_TRUE(data.outputs_untouched());
  EXPECT_EQ(save_all(cache), before);
}

TEST(Batch, AnEmptySequenceTakesOneQueryAndNoMore) {
  Cache cache = used_cache();  // sequence 2 is empty
  StepData one{small_config(), 1, 5};
  one.set_sequences({2});
  cache.attend(one.args, Stream{});
  EXPECT_THAT(one.out, ::testing::Each(0.0F));
  StepData two{small_config(), 2, 5};
  two.set_sequences({2});
  two.set_rows({2});
  const AnyArgs args = two.args;
  expect_refused(outcome_of([&](hashevict_error* error) { return any_attend(cache.handle(), &args, error, nullptr); }),
                 {kInvalid, {"row 0", "2 query tokens", "at most 1", "sequence 2 has seen 0 tokens"}});
  EXPECT_TRUE(two.outputs_untouched());
}

}  // namespace
}  // namespace hashevict::test
