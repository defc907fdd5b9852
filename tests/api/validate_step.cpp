// SPDX-License-Identifier: Apache-2.0
// Every argument of the five operations on a batch. Bad ones are refused with a message that names them; no output is
// written and no sequence changes.
#include <cstring>
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The operations of a row of the tables.
constexpr unsigned kPrefill = 1;
constexpr unsigned kEvict = 2;
constexpr unsigned kAppend = 4;
constexpr unsigned kAttend = 8;
constexpr unsigned kDecode = 16;
constexpr unsigned kAll = (1U << kAnyOperations.size()) - 1;
constexpr unsigned kTakesTokens = kPrefill | kEvict | kAppend | kDecode;
constexpr unsigned kStores = kPrefill | kAppend | kDecode;
constexpr unsigned kAttends = kPrefill | kAttend | kDecode;
constexpr unsigned kRequiresOut = kAttend | kDecode;

struct NamedOperation {
  unsigned bit;
  const char* name;
  AnyOperation call;
};
constexpr NamedOperation kOperations[] = {
    {kPrefill, "prefill", any_prefill}, {kEvict, "evict", any_evict},    {kAppend, "append", any_append},
    {kAttend, "attend", any_attend},    {kDecode, "decode", any_decode},
};
static_assert(std::size(kOperations) == kAnyOperations.size());

struct ArgsCase {
  std::string name;
  unsigned operations;
  void (*action)(AnyArgs&);
  std::vector<std::string> message;

  friend void PrintTo(const ArgsCase& row, std::ostream* stream) { *stream << row.name; }
};

/// Index arrays for the rows below.
const std::array<int32_t, 4> kOffsets{0, 1, 2, 3};
const std::array<int32_t, 4> kIndices{0, 1, 2, 0};

Tensor index_tensor(const std::array<int32_t, 4>& data, int64_t count) {
  return Tensor{data.data(), {count}};
}

void move_by(hashevict_tensor& tensor, int bytes) {
  tensor.data = static_cast<char*>(tensor.data) + bytes;
}

// The valid step has one token for each of the three sequences: q and out [3, 4, 16], k and v [3, 2, 16], lse [3, 4],
// slots and victims [3, 2].
const std::vector<ArgsCase> kBadScalars{
    {"StructSizeZero", kAll, [](AnyArgs& s) { s.struct_size = 0; }, {"args", "struct_size", "= 0"}},
    {"StructSizeTooSmall", kAll, [](AnyArgs& s) { s.struct_size = 16; }, {"args", "struct_size", "= 16"}},
    {"StructSizeAbsurd",
     kAll,
     [](AnyArgs& s) { s.struct_size = SIZE_MAX; },
     {"args", "struct_size", std::to_string(SIZE_MAX)}},
    {"LayerNegative", kAll, [](AnyArgs& s) { s.layer = -1; }, {"layer", "-1", "0 to 1"}},
    {"LayerBeyondLast", kAll, [](AnyArgs& s) { s.layer = 2; }, {"layer", "= 2", "0 to 1"}},
    {"ScaleNan", kAttends, [](AnyArgs& s) { s.softmax.scale = kNan; }, {"args.softmax.scale", "nan", "finite"}},
    {"ScaleInfinite",
     kAttends,
     [](AnyArgs& s) { s.softmax.scale = kInfinity; },
     {"args.softmax.scale", "inf", "finite"}},
    {"ScaleNegative",
     kAttends,
     [](AnyArgs& s) { s.softmax.scale = -0.5F; },
     {"args.softmax.scale", "-0.5", "expected"}},
    {"SoftCapNan",
     kAttends,
     [](AnyArgs& s) { s.softmax.logit_soft_cap = kNan; },
     {"args.softmax.logit_soft_cap", "nan", "finite"}},
    {"SoftCapInfinite",
     kAttends,
     [](AnyArgs& s) { s.softmax.logit_soft_cap = kInfinity; },
     {"args.softmax.logit_soft_cap", "inf", "finite"}},
    {"SoftCapNegative",
     kAttends,
     [](AnyArgs& s) { s.softmax.logit_soft_cap = -30.0F; },
     {"args.softmax.logit_soft_cap", "-30", "expected"}},
    {"ModeNegative", kPrefill, [](AnyArgs& s) { s.mode = -1; }, {"args.mode", "-1", "REPLAY", "WINDOW", "RECENT"}},
    {"ModeUnknown", kPrefill, [](AnyArgs& s) { s.mode = 3; }, {"args.mode", "3", "REPLAY"}},
    {"AttentionNegative",
     kPrefill,
     [](AnyArgs& s) { s.attention = -1; },
     {"args.attention", "-1", "STREAMED (0)", "FULL (1)"}},
    {"AttentionUnknown", kPrefill, [](AnyArgs& s) { s.attention = 2; }, {"args.attention", "= 2", "FULL (1)"}},
    {"AttentionUnknownWithoutOut",
     kPrefill,
     [](AnyArgs& s) {
       s.out = s.lse = Tensor{};
       s.attention = 2;
     },
     {"args.attention", "= 2", "FULL (1)"}},
    {"AttentionStreamedInModeWindow",
     kPrefill,
     [](AnyArgs& s) {
       s.mode = HASHEVICT_PREFILL_WINDOW;
       s.attention = HASHEVICT_PREFILL_STREAMED;
     },
     {"args.attention = 0 (STREAMED)", "expected 1 (FULL)", "args.mode is WINDOW"}},
    {"AttentionStreamedInModeRecent",
     kPrefill,
     [](AnyArgs& s) {
       s.mode = HASHEVICT_PREFILL_RECENT;
       s.attention = HASHEVICT_PREFILL_STREAMED;
     },
     {"args.attention = 0 (STREAMED)", "expected 1 (FULL)", "args.mode is RECENT"}},
    {"PlaceOfQueriesNegative",
     kAttend,
     [](AnyArgs& s) { s.queries = -1; },
     {"args.queries", "-1", "LAST (0)", "AFTER (1)"}},
    {"PlaceOfQueriesUnknown", kAttend, [](AnyArgs& s) { s.queries = 2; }, {"args.queries", "= 2", "AFTER (1)"}},
    {"WindowNegative", kPrefill, [](AnyArgs& s) { s.window = -32; }, {"args.window", "-32", "0, or 1 to 2147483647"}},
};

const std::vector<ArgsCase> kBadInputs{
    {"QueriesAbsent", kAll, [](AnyArgs& s) { s.q.data = nullptr; }, {"args.q", "NULL", "expected a tensor"}},
    {"QueriesAbsentWithoutTokens",  // absent differs from empty: an empty tensor has its shape
     kAttend,
     [](AnyArgs& s) { s.q = Tensor{}; },
     {"args.q", "NULL", "expected a tensor"}},
    {"QueriesEmptyInAnotherPlace",
     kAll,
     [](AnyArgs& s) {
       s.q.data = nullptr;
       s.q.shape[2] = 0;
     },
     {"args.q.shape[2]", "= 0", "expected 16"}},
    {"QueriesOfRankTwo", kAll, [](AnyArgs& s) { s.q.rank = 2; }, {"args.q.rank", "= 2", "expected 3"}},
    {"QueriesOfRankHuge", kAll, [](AnyArgs& s) { s.q.rank = INT32_MAX; }, {"args.q.rank", "2147483647"}},
    {"QueriesOfRankNegative", kAll, [](AnyArgs& s) { s.q.rank = -3; }, {"args.q.rank", "-3", "expected 3"}},
    {"FewerQueriesThanKeys",
     kTakesTokens,
     [](AnyArgs& s) { s.q.shape[0] = 2; },
     {"args.q.shape[0]", "= 2", "expected 3"}},
    {"QueryHeadsWrong", kAll, [](AnyArgs& s) { s.q.shape[1] = 2; }, {"args.q.shape[1]", "= 2", "expected 4"}},
    {"QueryDimWrong", kAll, [](AnyArgs& s) { s.q.shape[2] = 8; }, {"args.q.shape[2]", "= 8", "expected 16"}},
    {"QueriesInt32",
     kAll,
     [](AnyArgs& s) { s.q.dtype = HASHEVICT_INT32; },
     {"args.q.dtype", "= 3", "FLOAT32", "BFLOAT16"}},
    {"QueriesOfUnknownDtype", kAll, [](AnyArgs& s) { s.q.dtype = -9; }, {"args.q.dtype", "-9", "FLOAT32"}},
    {"QueryStrideNegative", kAll, [](AnyArgs& s) { s.q.stride[0] = -64; }, {"args.q.stride[0]", "-64", "0 to "}},
    {"QueryStrideHuge",
     kAll,
     [](AnyArgs& s) { s.q.stride[1] = INT64_MAX; },
     {"args.q.stride[1]", "9223372036854775807"}},
    {"QueriesMisaligned", kAll, [](AnyArgs& s) { move_by(s.q, 2); }, {"args.q.data", "element size 4"}},
    {"QueriesNegative", kAttend, [](AnyArgs& s) { s.q.shape[0] = -1; }, {"args.q.shape[0]", "-1", "0 to "}},
    {"KeysAbsent", kTakesTokens, [](AnyArgs& s) { s.k.data = nullptr; }, {"args.k", "NULL", "expected a tensor"}},
    {"KeysOfRankFour", kTakesTokens, [](AnyArgs& s) { s.k.rank = 4; }, {"args.k.rank", "= 4", "expected 3"}},
    {"KeysNegative",
     kTakesTokens,
     [](AnyArgs& s) { s.k.shape[0] = INT64_MIN; },
     {"args.k.shape[0]", "-9223372036854775808", "0 to "}},
    {"KeyHeadsWrong", kTakesTokens, [](AnyArgs& s) { s.k.shape[1] = 4; }, {"args.k.shape[1]", "= 4", "expected 2"}},
    {"KeyDimWrong", kTakesTokens, [](AnyArgs& s) { s.k.shape[2] = 0; }, {"args.k.shape[2]", "= 0", "expected 16"}},
    {"KeysUint8", kTakesTokens, [](AnyArgs& s) { s.k.dtype = HASHEVICT_UINT8; }, {"args.k.dtype", "= 4"}},
    {"KeyStrideNegative", kTakesTokens, [](AnyArgs& s) { s.k.stride[2] = -1; }, {"args.k.stride[2]", "-1", "0 to "}},
    {"KeysMisaligned", kTakesTokens, [](AnyArgs& s) { move_by(s.k, 1); }, {"args.k.data", "element size 4"}},
    {"ValuesAbsent", kStores, [](AnyArgs& s) { s.v.data = nullptr; }, {"args.v", "NULL", "expected a tensor"}},
    {"ValuesOfRankOne", kStores, [](AnyArgs& s) { s.v.rank = 1; }, {"args.v.rank", "= 1", "expected 3"}},
    {"FewerValuesThanKeys", kStores, [](AnyArgs& s) { s.v.shape[0] = 1; }, {"args.v.shape[0]", "= 1", "expected 3"}},
    {"ValueHeadsWrong", kStores, [](AnyArgs& s) { s.v.shape[1] = 1; }, {"args.v.shape[1]", "= 1", "expected 2"}},
    {"ValueDimWrong", kStores, [](AnyArgs& s) { s.v.shape[2] = 32; }, {"args.v.shape[2]", "= 32", "expected 16"}},
    {"ValuesOfUnknownDtype", kStores, [](AnyArgs& s) { s.v.dtype = 100; }, {"args.v.dtype", "100", "FLOAT32"}},
    {"ValueStrideNegative", kStores, [](AnyArgs& s) { s.v.stride[1] = -16; }, {"args.v.stride[1]", "-16", "0 to "}},
    {"ValuesMisaligned", kStores, [](AnyArgs& s) { move_by(s.v, 3); }, {"args.v.data", "element size 4"}},
};

const std::vector<ArgsCase> kBadOutputs{
    {"OutAbsent", kRequiresOut, [](AnyArgs& s) { s.out.data = nullptr; }, {"args.out", "NULL", "expected a tensor"}},
    {"OutOfRankTwo", kAttends, [](AnyArgs& s) { s.out.rank = 2; }, {"args.out.rank", "= 2", "expected 3"}},
    {"OutTooShort", kAttends, [](AnyArgs& s) { s.out.shape[0] = 2; }, {"args.out.shape[0]", "= 2", "expected 3"}},
    {"OutHeadsWrong", kAttends, [](AnyArgs& s) { s.out.shape[1] = 2; }, {"args.out.shape[1]", "= 2", "expected 4"}},
    {"OutDimWrong", kAttends, [](AnyArgs& s) { s.out.shape[2] = 15; }, {"args.out.shape[2]", "= 15", "expected 16"}},
    {"OutInt32", kAttends, [](AnyArgs& s) { s.out.dtype = HASHEVICT_INT32; }, {"args.out.dtype", "= 3", "FLOAT32"}},
    {"OutOverlapsItself",
     kAttends,
     [](AnyArgs& s) { s.out.stride[1] = 0; },
     {"args.out.stride[1]", "= 0", "expected at least 1", "share memory"}},
    {"OutStrideNegative", kAttends, [](AnyArgs& s) { s.out.stride[0] = -64; }, {"args.out.stride[0]", "-64"}},
    {"OutMisaligned", kAttends, [](AnyArgs& s) { move_by(s.out, 2); }, {"args.out.data", "element size 4"}},
    {"LseWithoutOut",
     kPrefill,
     [](AnyArgs& s) { s.out = Tensor{}; },
     {"args.lse.data = 0x", "expected NULL", "args.out.data is NULL"}},
    {"LseOfRankThree", kAttends, [](AnyArgs& s) { s.lse.rank = 3; }, {"args.lse.rank", "= 3", "expected 2"}},
    {"LseTooShort", kAttends, [](AnyArgs& s) { s.lse.shape[0] = 0; }, {"args.lse.shape[0]", "= 0", "expected 3"}},
    {"LseHeadsWrong", kAttends, [](AnyArgs& s) { s.lse.shape[1] = 2; }, {"args.lse.shape[1]", "= 2", "expected 4"}},
    {"LseFloat16", kAttends, [](AnyArgs& s) { s.lse.dtype = HASHEVICT_FLOAT16; }, {"args.lse.dtype", "= 1"}},
    {"LseMisaligned", kAttends, [](AnyArgs& s) { move_by(s.lse, 1); }, {"args.lse.data", "element size 4"}},
    {"SlotsFloat32",
     kTakesTokens,
     [](AnyArgs& s) { s.slots.dtype = HASHEVICT_FLOAT32; },
     {"args.slots.dtype", "= 0", "expected 3"}},
    {"SlotsOfRankOne", kTakesTokens, [](AnyArgs& s) { s.slots.rank = 1; }, {"args.slots.rank", "= 1", "expected 2"}},
    {"SlotsTooShort",
     kTakesTokens,
     [](AnyArgs& s) { s.slots.shape[0] = 2; },
     {"args.slots.shape[0]", "= 2", "expected 3"}},
    {"SlotsOverlapThemselves",
     kTakesTokens,
     [](AnyArgs& s) { s.slots.stride[0] = 0; },
     {"args.slots.stride[0]", "= 0", "expected at least 1", "share memory"}},
    {"VictimsUint8",
     kTakesTokens,
     [](AnyArgs& s) { s.victims.dtype = HASHEVICT_UINT8; },
     {"args.victims.dtype", "= 4"}},
    {"VictimHeadsWrong",
     kTakesTokens,
     [](AnyArgs& s) { s.victims.shape[1] = 4; },
     {"args.victims.shape[1]", "= 4", "expected 2"}},
    {"VictimsMisaligned",
     kTakesTokens,
     [](AnyArgs& s) { move_by(s.victims, 2); },
     {"args.victims.data", "element size 4"}},
};

const std::vector<ArgsCase> kBadBatches{
    {"RowsOfRankTwo",
     kAll,
     [](AnyArgs& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.rank = 2;
     },
     {"args.batch.row_to_sequence", "INT32", "[rows]"}},
    {"RowsFloat32",
     kAll,
     [](AnyArgs& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.dtype = HASHEVICT_FLOAT32;
     },
     {"args.batch.row_to_sequence", "INT32", "[rows]"}},
    {"RowsStrided",
     kAll,
     [](AnyArgs& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.stride[0] = 2;
     },
     {"args.batch.row_to_sequence", "contiguous"}},
    {"RowsMisaligned",
     kAll,
     [](AnyArgs& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       move_by(s.batch.row_to_sequence, 1);
     },
     {"args.batch.row_to_sequence", "multiple of 4"}},
    {"FewerRowsThanTokens",
     kAll,
     [](AnyArgs& s) { s.batch.row_to_sequence = index_tensor(kIndices, 2); },
     {"args.batch.row_to_sequence.shape[0]", "= 2", "expected 3, the number of rows"}},
    {"NegativeRows",
     kAll,
     [](AnyArgs& s) { s.batch.row_to_sequence = index_tensor(kIndices, -1); },
     {"args.batch.row_to_sequence.shape[0]", "-1", "expected 3, the number of rows"}},
    {"OffsetsOfRankTwo",
     kAll,
     [](AnyArgs& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.cu_seqlens.rank = 2;
     },
     {"args.batch.cu_seqlens", "INT32", "[rows + 1]"}},
    {"OffsetsUint8",
     kAll,
     [](AnyArgs& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.cu_seqlens.dtype = HASHEVICT_UINT8;
     },
     {"args.batch.cu_seqlens", "INT32", "[rows + 1]"}},
    {"OffsetsMisaligned",
     kAll,
     [](AnyArgs& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       move_by(s.batch.cu_seqlens, 2);
     },
     {"args.batch.cu_seqlens", "multiple of 4"}},
    {"OffsetsEmpty",
     kAll,
     [](AnyArgs& s) { s.batch.cu_seqlens = index_tensor(kOffsets, 0); },
     {"args.batch.cu_seqlens.shape[0]", "= 0", "1 to 4"}},
    {"OffsetsNegative",
     kAll,
     [](AnyArgs& s) { s.batch.cu_seqlens = index_tensor(kOffsets, INT64_MIN); },
     {"args.batch.cu_seqlens.shape[0]", "-9223372036854775808", "1 to 4"}},
    {"OffsetsForOtherRows",
     kAll,
     [](AnyArgs& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.row_to_sequence = index_tensor(kIndices, 2);
     },
     {"args.batch.row_to_sequence.shape[0]", "= 2", "expected 3, the number of rows"}},
    {"MoreRowsThanSequences",
     kAll,
     [](AnyArgs& s) {
       static const std::array<int32_t, 5> offsets{0, 1, 2, 3, 3};
       s.batch.cu_seqlens = Tensor{offsets.data(), {5}};
     },
     {"args.batch.cu_seqlens.shape[0] = 5", "1 to 4", "num_sequences"}},
    {"MoreRowsThanTheWorkspaceHolds",
     kAll,
     [](AnyArgs& s) { s.batch.cu_seqlens = index_tensor(kOffsets, int64_t{1} << 40); },
     {"args.batch.cu_seqlens.shape[0] = 1099511627776", "1 to 4"}},
    {"MoreTokensThanTheWorkspaceHolds",
     kAll,
     [](AnyArgs& s) { s.q.shape[0] = s.k.shape[0] = s.v.shape[0] = 65; },
     {"shape[0] = 65", "0 to 3", "num_sequences"}},
    {"MoreTokensThanMemory",
     kAll,
     [](AnyArgs& s) { s.q.shape[0] = s.k.shape[0] = s.v.shape[0] = INT64_MAX; },
     {"shape[0] = 9223372036854775807", "0 to 3"}},
};

class BadArgs : public ::testing::TestWithParam<ArgsCase> {};

TEST_P(BadArgs, IsRefusedAndChangesNothing) {
  const ArgsCase& row = GetParam();
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  for (const NamedOperation& operation : kOperations) {
    if ((row.operations & operation.bit) == 0) continue;
    SCOPED_TRACE(operation.name);
    const StepData data{small_config(), 3, 1};
    AnyArgs args = data.args;
    row.action(args);
    expect_refused(
        outcome_of([&](hashevict_error* error) { return operation.call(cache.handle(), &args, error, nullptr); }),
        {kInvalid, row.message});
    EXPECT_TRUE(data.outputs_untouched());
  }
  EXPECT_EQ(save_all(cache), before);
}

struct ArgsCaseName {
  std::string operator()(const ::testing::TestParamInfo<ArgsCase>& info) const { return info.param.name; }
};
INSTANTIATE_TEST_SUITE_P(Scalars, BadArgs, ::testing::ValuesIn(kBadScalars), ArgsCaseName{});
INSTANTIATE_TEST_SUITE_P(Inputs, BadArgs, ::testing::ValuesIn(kBadInputs), ArgsCaseName{});
INSTANTIATE_TEST_SUITE_P(Outputs, BadArgs, ::testing::ValuesIn(kBadOutputs), ArgsCaseName{});
INSTANTIATE_TEST_SUITE_P(Batch, BadArgs, ::testing::ValuesIn(kBadBatches), ArgsCaseName{});

TEST(Args, OptionalOutputsMayBeAbsent) {
  Cache cache = used_cache();
  for (const NamedOperation& operation : kOperations) {
    SCOPED_TRACE(operation.name);
    StepData data{small_config(), 2, 3};
    data.args.lse = data.args.slots = data.args.victims = Tensor{};
    const AnyArgs args = data.args;
    EXPECT_EQ(outcome_of([&](hashevict_error* error) {
                return operation.call(cache.handle(), &args, error, nullptr);
              }).status,
              HASHEVICT_OK);
  }
}

TEST(Args, AttentionOfAPromptIsStreamedOnlyWhereStreamingIsThePrompt) {
  for (const bool pins : {false, true}) {
    Config config = small_config();
    config.rule.pin_prompt = pins ? 1 : 0;
    config.rule.centering = pins ? Centering::none : Centering::prompt;
    Cache cache{config};
    const std::vector<std::byte> before = save_all(cache);
    StepData data{config, 3, 4};
    AnyArgs args = data.args;
    const auto prefill = [&](hashevict_error* error) { return any_prefill(cache.handle(), &args, error, nullptr); };
    args.attention = HASHEVICT_PREFILL_STREAMED;
    expect_refused(outcome_of(prefill), {kInvalid,
                                         {"args.attention = 0 (STREAMED): expected 1 (FULL), since config.rule.",
                                          pins ? "pin_prompt is set" : "centering is PROMPT"}});
    EXPECT_TRUE(data.outputs_untouched());
    EXPECT_EQ(save_all(cache), before);
    args.out = args.lse = Tensor{};
    EXPECT_EQ(outcome_of(prefill).status, HASHEVICT_OK);
  }
}

TEST(Args, QueriesMayBeAbsentWhereTheRuleDoesNotLookAtThem) {
  for (const Policy policy :
       {Policy::window, Policy::random, Policy::mean, Policy::votes, Policy::superseded, Policy::importance}) {
    Config config = small_config();
    config.rule.policy = policy;
    Cache cache{config};
    StepData data{config, 3, 4};
    data.args.q = Tensor{};
    EXPECT_NO_THROW(cache.evict(data.args, Stream{}));
    EXPECT_NO_THROW(cache.append(data.args, Stream{}));
    expect_refused(
        outcome_of([&](hashevict_error* error) { return any_prefill(cache.handle(), &data.args, error, nullptr); }),
        {kInvalid, {"args.q.data = NULL"}});
    data.args.out = data.args.lse = Tensor{};
    EXPECT_NO_THROW(cache.prefill(data.args, Stream{}));
  }
}

TEST(Args, WindowOfZeroIsThirtyTwo) {
  Config config = small_config();
  config.shape.capacity = 60;
  const auto prompted = [&](int32_t window) {
    Cache cache{config};
    StepData data{config, 64, 7};
    data.set_rows({64});
    data.args.mode = HASHEVICT_PREFILL_WINDOW;
    data.args.window = window;
    cache.prefill(data.args, Stream{});
    return cache.save(0, Stream{});
  };
  EXPECT_EQ(prompted(0), prompted(32));
  EXPECT_NE(prompted(0), prompted(8));
}

}  // namespace
}  // namespace hashevict::test
