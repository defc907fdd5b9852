// SPDX-License-Identifier: Apache-2.0
// Every field of a step, for each of the five operations that take one: what is bad is refused with a message that
// names it, no output is written and no sequence changes.
#include <cstring>
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Which operations a row of the tables is about.
constexpr unsigned kPrefill = 1;
constexpr unsigned kEvict = 2;
constexpr unsigned kAppend = 4;
constexpr unsigned kAttend = 8;
constexpr unsigned kDecode = 16;
constexpr unsigned kAll = 31;
constexpr unsigned kTakesTokens = kAll & ~kAttend;
constexpr unsigned kStores = kPrefill | kAppend | kDecode;
constexpr unsigned kAttends = kAttend | kDecode;

struct NamedOperation {
  unsigned bit;
  const char* name;
  decltype(&hashevict_decode) call;
};
constexpr NamedOperation kOperations[] = {
    {kPrefill, "prefill", hashevict_prefill}, {kEvict, "evict", hashevict_evict},
    {kAppend, "append", hashevict_append},    {kAttend, "attend", hashevict_attend},
    {kDecode, "decode", hashevict_decode},
};

struct StepCase {
  std::string name;
  unsigned operations;
  void (*action)(hashevict_step&);
  std::vector<std::string> message;

  friend void PrintTo(const StepCase& row, std::ostream* stream) { *stream << row.name; }
};

/// Index arrays that the rows below point a step to.
const std::array<int32_t, 4> kOffsets{0, 1, 2, 3};
const std::array<int32_t, 4> kIndices{0, 1, 2, 0};

hashevict_tensor index_tensor(const std::array<int32_t, 4>& data, int64_t count) {
  return Tensor{data.data(), {count}};
}

void move_by(hashevict_tensor& tensor, int bytes) {
  tensor.data = static_cast<char*>(tensor.data) + bytes;
}

// The valid step brings one token to each of the three sequences: q and out [3, 4, 16], k and v [3, 2, 16], lse [3, 4],
// slots and victims [3, 2].
const std::vector<StepCase> kBadScalars{
    {"StructSizeZero", kAll, [](hashevict_step& s) { s.struct_size = 0; }, {"step", "struct_size", "= 0"}},
    {"StructSizeTooSmall",
     kAll,
     [](hashevict_step& s) { s.struct_size = sizeof s - 8; },
     {"step", "struct_size", std::to_string(sizeof(hashevict_step) - 8)}},
    {"StructSizeAbsurd",
     kAll,
     [](hashevict_step& s) { s.struct_size = SIZE_MAX; },
     {"step", "struct_size", std::to_string(SIZE_MAX)}},
    {"LayerNegative", kAll, [](hashevict_step& s) { s.layer = -1; }, {"layer", "-1", "0 to 1"}},
    {"LayerBeyondLast", kAll, [](hashevict_step& s) { s.layer = 2; }, {"layer", "= 2", "0 to 1"}},
    {"ScaleNan", kAttends, [](hashevict_step& s) { s.softmax_scale = kNan; }, {"step.softmax_scale", "nan", "finite"}},
    {"ScaleInfinite",
     kAttends,
     [](hashevict_step& s) { s.softmax_scale = kInfinity; },
     {"step.softmax_scale", "inf", "finite"}},
    {"ScaleNegative",
     kAttends,
     [](hashevict_step& s) { s.softmax_scale = -0.5F; },
     {"step.softmax_scale", "-0.5", "expected"}},
    {"SoftCapNan",
     kAttends,
     [](hashevict_step& s) { s.logit_soft_cap = kNan; },
     {"step.logit_soft_cap", "nan", "finite"}},
    {"SoftCapInfinite",
     kAttends,
     [](hashevict_step& s) { s.logit_soft_cap = kInfinity; },
     {"step.logit_soft_cap", "inf", "finite"}},
    {"SoftCapNegative",
     kAttends,
     [](hashevict_step& s) { s.logit_soft_cap = -30.0F; },
     {"step.logit_soft_cap", "-30", "expected"}},
    {"PrefillModeNegative",
     kPrefill,
     [](hashevict_step& s) { s.prefill_mode = -1; },
     {"step.prefill_mode", "-1", "REPLAY", "WINDOW", "RECENT"}},
    {"PrefillModeUnknown",
     kPrefill,
     [](hashevict_step& s) { s.prefill_mode = 3; },
     {"step.prefill_mode", "3", "REPLAY"}},
    {"PrefillWindowZero",
     kPrefill,
     [](hashevict_step& s) { s.prefill_window = 0; },
     {"step.prefill_window", "= 0", "1 or more"}},
    {"PrefillWindowNegative",
     kPrefill,
     [](hashevict_step& s) { s.prefill_window = -32; },
     {"step.prefill_window", "-32", "1 or more"}},
};

const std::vector<StepCase> kBadInputs{
    {"QueriesAbsent", kAll, [](hashevict_step& s) { s.q.data = nullptr; }, {"step.q", "NULL", "expected a tensor"}},
    {"QueriesAbsentWithoutTokens",  // absent is not empty: an empty tensor has its shape
     kAttend,
     [](hashevict_step& s) { s.q = hashevict_tensor{}; },
     {"step.q", "NULL", "expected a tensor"}},
    {"QueriesEmptyInAnotherPlace",
     kAll,
     [](hashevict_step& s) {
       s.q.data = nullptr;
       s.q.shape[2] = 0;
     },
     {"step.q.shape[2]", "= 0", "expected 16"}},
    {"QueriesOfRankTwo", kAll, [](hashevict_step& s) { s.q.rank = 2; }, {"step.q.rank", "= 2", "expected 3"}},
    {"QueriesOfRankHuge", kAll, [](hashevict_step& s) { s.q.rank = INT32_MAX; }, {"step.q.rank", "2147483647"}},
    {"QueriesOfRankNegative", kAll, [](hashevict_step& s) { s.q.rank = -3; }, {"step.q.rank", "-3", "expected 3"}},
    {"FewerQueriesThanKeys",
     kTakesTokens,
     [](hashevict_step& s) { s.q.shape[0] = 2; },
     {"step.q.shape[0]", "= 2", "expected 3"}},
    {"QueryHeadsWrong", kAll, [](hashevict_step& s) { s.q.shape[1] = 2; }, {"step.q.shape[1]", "= 2", "expected 4"}},
    {"QueryDimWrong", kAll, [](hashevict_step& s) { s.q.shape[2] = 8; }, {"step.q.shape[2]", "= 8", "expected 16"}},
    {"QueriesInt32",
     kAll,
     [](hashevict_step& s) { s.q.dtype = HASHEVICT_INT32; },
     {"step.q.dtype", "= 3", "FLOAT32", "BFLOAT16"}},
    {"QueriesOfUnknownDtype", kAll, [](hashevict_step& s) { s.q.dtype = -9; }, {"step.q.dtype", "-9", "FLOAT32"}},
    {"QueryStrideNegative",
     kAll,
     [](hashevict_step& s) { s.q.stride[0] = -64; },
     {"step.q.stride[0]", "-64", "or more"}},
    {"QueryStrideHuge",
     kAll,
     [](hashevict_step& s) { s.q.stride[1] = INT64_MAX; },
     {"step.q.stride[1]", "9223372036854775807"}},
    {"QueriesMisaligned", kAll, [](hashevict_step& s) { move_by(s.q, 2); }, {"step.q.data", "element size 4"}},
    {"QueriesNegative",
     kAttend,
     [](hashevict_step& s) { s.q.shape[0] = -1; },
     {"step.q.shape[0]", "-1", "number of tokens"}},
    {"KeysAbsent",
     kTakesTokens,
     [](hashevict_step& s) { s.k.data = nullptr; },
     {"step.k", "NULL", "expected a tensor"}},
    {"KeysOfRankFour", kTakesTokens, [](hashevict_step& s) { s.k.rank = 4; }, {"step.k.rank", "= 4", "expected 3"}},
    {"KeysNegative",
     kTakesTokens,
     [](hashevict_step& s) { s.k.shape[0] = INT64_MIN; },
     {"step.k.shape[0]", "-9223372036854775808", "number of tokens"}},
    {"KeyHeadsWrong",
     kTakesTokens,
     [](hashevict_step& s) { s.k.shape[1] = 4; },
     {"step.k.shape[1]", "= 4", "expected 2"}},
    {"KeyDimWrong",
     kTakesTokens,
     [](hashevict_step& s) { s.k.shape[2] = 0; },
     {"step.k.shape[2]", "= 0", "expected 16"}},
    {"KeysUint8", kTakesTokens, [](hashevict_step& s) { s.k.dtype = HASHEVICT_UINT8; }, {"step.k.dtype", "= 4"}},
    {"KeyStrideNegative",
     kTakesTokens,
     [](hashevict_step& s) { s.k.stride[2] = -1; },
     {"step.k.stride[2]", "-1", "or more"}},
    {"KeysMisaligned", kTakesTokens, [](hashevict_step& s) { move_by(s.k, 1); }, {"step.k.data", "element size 4"}},
    {"ValuesAbsent", kStores, [](hashevict_step& s) { s.v.data = nullptr; }, {"step.v", "NULL", "expected a tensor"}},
    {"ValuesOfRankOne", kStores, [](hashevict_step& s) { s.v.rank = 1; }, {"step.v.rank", "= 1", "expected 3"}},
    {"FewerValuesThanKeys",
     kStores,
     [](hashevict_step& s) { s.v.shape[0] = 1; },
     {"step.v.shape[0]", "= 1", "expected 3"}},
    {"ValueHeadsWrong", kStores, [](hashevict_step& s) { s.v.shape[1] = 1; }, {"step.v.shape[1]", "= 1", "expected 2"}},
    {"ValueDimWrong",
     kStores,
     [](hashevict_step& s) { s.v.shape[2] = 32; },
     {"step.v.shape[2]", "= 32", "expected 16"}},
    {"ValuesOfUnknownDtype", kStores, [](hashevict_step& s) { s.v.dtype = 100; }, {"step.v.dtype", "100", "FLOAT32"}},
    {"ValueStrideNegative",
     kStores,
     [](hashevict_step& s) { s.v.stride[1] = -16; },
     {"step.v.stride[1]", "-16", "or more"}},
    {"ValuesMisaligned", kStores, [](hashevict_step& s) { move_by(s.v, 3); }, {"step.v.data", "element size 4"}},
};

const std::vector<StepCase> kBadOutputs{
    {"OutAbsent", kAttends, [](hashevict_step& s) { s.out.data = nullptr; }, {"step.out", "NULL", "expected a tensor"}},
    {"OutOfRankTwo", kAttends, [](hashevict_step& s) { s.out.rank = 2; }, {"step.out.rank", "= 2", "expected 3"}},
    {"OutTooShort",
     kAttends,
     [](hashevict_step& s) { s.out.shape[0] = 2; },
     {"step.out.shape[0]", "= 2", "expected 3"}},
    {"OutHeadsWrong",
     kAttends,
     [](hashevict_step& s) { s.out.shape[1] = 2; },
     {"step.out.shape[1]", "= 2", "expected 4"}},
    {"OutDimWrong",
     kAttends,
     [](hashevict_step& s) { s.out.shape[2] = 15; },
     {"step.out.shape[2]", "= 15", "expected 16"}},
    {"OutInt32",
     kAttends,
     [](hashevict_step& s) { s.out.dtype = HASHEVICT_INT32; },
     {"step.out.dtype", "= 3", "FLOAT32"}},
    {"OutOverlapsItself",
     kAttends,
     [](hashevict_step& s) { s.out.stride[1] = 0; },
     {"step.out.stride[1]", "= 0", "expected 1"}},
    {"OutStrideNegative", kAttends, [](hashevict_step& s) { s.out.stride[0] = -64; }, {"step.out.stride[0]", "-64"}},
    {"OutMisaligned", kAttends, [](hashevict_step& s) { move_by(s.out, 2); }, {"step.out.data", "element size 4"}},
    {"LseOfRankThree", kAttends, [](hashevict_step& s) { s.lse.rank = 3; }, {"step.lse.rank", "= 3", "expected 2"}},
    {"LseTooShort",
     kAttends,
     [](hashevict_step& s) { s.lse.shape[0] = 0; },
     {"step.lse.shape[0]", "= 0", "expected 3"}},
    {"LseHeadsWrong",
     kAttends,
     [](hashevict_step& s) { s.lse.shape[1] = 2; },
     {"step.lse.shape[1]", "= 2", "expected 4"}},
    {"LseFloat16", kAttends, [](hashevict_step& s) { s.lse.dtype = HASHEVICT_FLOAT16; }, {"step.lse.dtype", "= 1"}},
    {"LseMisaligned", kAttends, [](hashevict_step& s) { move_by(s.lse, 1); }, {"step.lse.data", "element size 4"}},
    {"SlotsFloat32",
     kTakesTokens,
     [](hashevict_step& s) { s.slots.dtype = HASHEVICT_FLOAT32; },
     {"step.slots.dtype", "= 0", "expected 3"}},
    {"SlotsOfRankOne",
     kTakesTokens,
     [](hashevict_step& s) { s.slots.rank = 1; },
     {"step.slots.rank", "= 1", "expected 2"}},
    {"SlotsTooShort",
     kTakesTokens,
     [](hashevict_step& s) { s.slots.shape[0] = 2; },
     {"step.slots.shape[0]", "= 2", "expected 3"}},
    {"SlotsOverlapThemselves",
     kTakesTokens,
     [](hashevict_step& s) { s.slots.stride[0] = 0; },
     {"step.slots.stride[0]", "= 0", "expected 1"}},
    {"VictimsUint8",
     kTakesTokens,
     [](hashevict_step& s) { s.victims.dtype = HASHEVICT_UINT8; },
     {"step.victims.dtype", "= 4"}},
    {"VictimHeadsWrong",
     kTakesTokens,
     [](hashevict_step& s) { s.victims.shape[1] = 4; },
     {"step.victims.shape[1]", "= 4", "expected 2"}},
    {"VictimsMisaligned",
     kTakesTokens,
     [](hashevict_step& s) { move_by(s.victims, 2); },
     {"step.victims.data", "element size 4"}},
};

const std::vector<StepCase> kBadBatches{
    {"RowsOfRankTwo",
     kAll,
     [](hashevict_step& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.rank = 2;
     },
     {"step.batch.row_to_sequence", "INT32", "[rows]"}},
    {"RowsFloat32",
     kAll,
     [](hashevict_step& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.dtype = HASHEVICT_FLOAT32;
     },
     {"step.batch.row_to_sequence", "INT32", "[rows]"}},
    {"RowsStrided",
     kAll,
     [](hashevict_step& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       s.batch.row_to_sequence.stride[0] = 2;
     },
     {"step.batch.row_to_sequence", "contiguous"}},
    {"RowsMisaligned",
     kAll,
     [](hashevict_step& s) {
       s.batch.row_to_sequence = index_tensor(kIndices, 3);
       move_by(s.batch.row_to_sequence, 1);
     },
     {"step.batch.row_to_sequence", "multiple of 4"}},
    {"FewerRowsThanTokens",
     kAll,
     [](hashevict_step& s) { s.batch.row_to_sequence = index_tensor(kIndices, 2); },
     {"step.batch.row_to_sequence.shape[0]", "= 2", "rows = 3"}},
    {"NegativeRows",
     kAll,
     [](hashevict_step& s) { s.batch.row_to_sequence = index_tensor(kIndices, -1); },
     {"step.batch.row_to_sequence.shape[0]", "-1", "rows = 3"}},
    {"OffsetsOfRankTwo",
     kAll,
     [](hashevict_step& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.cu_seqlens.rank = 2;
     },
     {"step.batch.cu_seqlens", "INT32", "[rows + 1]"}},
    {"OffsetsUint8",
     kAll,
     [](hashevict_step& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.cu_seqlens.dtype = HASHEVICT_UINT8;
     },
     {"step.batch.cu_seqlens", "INT32", "[rows + 1]"}},
    {"OffsetsMisaligned",
     kAll,
     [](hashevict_step& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       move_by(s.batch.cu_seqlens, 2);
     },
     {"step.batch.cu_seqlens", "multiple of 4"}},
    {"OffsetsEmpty",
     kAll,
     [](hashevict_step& s) { s.batch.cu_seqlens = index_tensor(kOffsets, 0); },
     {"step.batch.cu_seqlens.shape[0]", "= 0", "rows + 1"}},
    {"OffsetsNegative",
     kAll,
     [](hashevict_step& s) { s.batch.cu_seqlens = index_tensor(kOffsets, INT64_MIN); },
     {"step.batch.cu_seqlens.shape[0]", "-9223372036854775808", "rows + 1"}},
    {"OffsetsForOtherRows",
     kAll,
     [](hashevict_step& s) {
       s.batch.cu_seqlens = index_tensor(kOffsets, 4);
       s.batch.row_to_sequence = index_tensor(kIndices, 2);
     },
     {"step.batch.row_to_sequence.shape[0]", "= 2", "rows = 3"}},
    {"MoreRowsThanSequences",
     kAll,
     [](hashevict_step& s) {
       static const std::array<int32_t, 5> offsets{0, 1, 2, 3, 3};
       s.batch.cu_seqlens = Tensor{offsets.data(), {5}};
     },
     {"rows = 4", "num_sequences = 3"}},
    {"MoreRowsThanTheWorkspaceHolds",
     kAll,
     [](hashevict_step& s) { s.batch.cu_seqlens = index_tensor(kOffsets, int64_t{1} << 40); },
     {"rows = 1099511627775", "expected at most"}},
    {"MoreTokensThanTheWorkspaceHolds",
     kAll,
     [](hashevict_step& s) { s.q.shape[0] = s.k.shape[0] = s.v.shape[0] = 65; },
     {"tokens = 65", "max_batch_tokens = 64"}},
    {"MoreTokensThanMemory",
     kAll,
     [](hashevict_step& s) { s.q.shape[0] = s.k.shape[0] = s.v.shape[0] = INT64_MAX; },
     {"tokens = 9223372036854775807", "max_batch_tokens = 64"}},
};

class BadStep : public ::testing::TestWithParam<StepCase> {};

TEST_P(BadStep, IsRefusedAndChangesNothing) {
  const StepCase& row = GetParam();
  Cache cache = used_cache();
  const std::vector<std::byte> before = save_all(cache);
  for (const NamedOperation& operation : kOperations) {
    if ((row.operations & operation.bit) == 0) continue;
    SCOPED_TRACE(operation.name);
    const StepData data{small_config(), 3, 1};
    hashevict_step step = data.step.c_step();
    if (operation.bit == kAttend) step.k = step.v = step.slots = step.victims = hashevict_tensor{};
    row.action(step);
    expect_refused(
        outcome_of([&](hashevict_error* error) { return operation.call(cache.handle(), &step, error, nullptr); }),
        {kInvalid, row.message});
    EXPECT_TRUE(data.outputs_untouched());
  }
  EXPECT_EQ(save_all(cache), before);
}

struct StepCaseName {
  std::string operator()(const ::testing::TestParamInfo<StepCase>& info) const { return info.param.name; }
};
INSTANTIATE_TEST_SUITE_P(Scalars, BadStep, ::testing::ValuesIn(kBadScalars), StepCaseName{});
INSTANTIATE_TEST_SUITE_P(Inputs, BadStep, ::testing::ValuesIn(kBadInputs), StepCaseName{});
INSTANTIATE_TEST_SUITE_P(Outputs, BadStep, ::testing::ValuesIn(kBadOutputs), StepCaseName{});
INSTANTIATE_TEST_SUITE_P(Batch, BadStep, ::testing::ValuesIn(kBadBatches), StepCaseName{});

TEST(Step, FieldsThatAnOperationDoesNotReadMayBeAnything) {
  Cache cache = used_cache();
  const std::array<int32_t, 3> sequences{0, 1, -1};  // nothing to attend to in sequence 2
  for (const NamedOperation& operation : kOperations) {
    SCOPED_TRACE(operation.name);
    const StepData data{small_config(), 3, 2};
    hashevict_step step = data.step.c_step();
    step.batch.row_to_sequence = Tensor{sequences.data(), {3}};
    const hashevict_tensor garbage = Tensor{&sequences, DType::uint8, {-1, 7}};
    if ((operation.bit & kTakesTokens) == 0) step.k = step.slots = step.victims = garbage;
    if ((operation.bit & kStores) == 0) step.v = garbage;
    if ((operation.bit & kAttends) == 0) {
      step.out = step.lse = garbage;
      step.softmax_scale = step.logit_soft_cap = kNan;
    }
    if (operation.bit != kPrefill) step.prefill_mode = step.prefill_window = -5;
    EXPECT_EQ(outcome_of([&](hashevict_error* error) {
                return operation.call(cache.handle(), &step, error, nullptr);
              }).status,
              HASHEVICT_OK);
  }
}

TEST(Step, OptionalOutputsMayBeAbsent) {
  Cache cache = used_cache();
  for (const NamedOperation& operation : kOperations) {
    SCOPED_TRACE(operation.name);
    StepData data{small_config(), 2, 3};
    data.step.lse = data.step.slots = data.step.victims = Tensor{};
    const hashevict_step step = data.step.c_step();
    EXPECT_EQ(outcome_of([&](hashevict_error* error) {
                return operation.call(cache.handle(), &step, error, nullptr);
              }).status,
              HASHEVICT_OK);
  }
}

TEST(Step, QueriesMayBeAbsentWhereTheRuleDoesNotLookAtThem) {
  for (const Policy policy :
       {Policy::window, Policy::random, Policy::key_norm, Policy::mean, Policy::majority, Policy::superseded}) {
    Config config = small_config();
    config.policy = policy;
    Cache cache{config};
    StepData data{config, 3, 4};
    data.step.q = Tensor{};
    EXPECT_NO_THROW(cache.evict(data.step, Stream{}));
    EXPECT_NO_THROW(cache.append(data.step, Stream{}));
    EXPECT_NO_THROW(cache.prefill(data.step, Stream{}));
  }
}

TEST(Step, LongerStructWithAnUnknownFieldSetIsRefused) {
  Cache cache = used_cache();
  const StepData data{small_config(), 3, 5};
  struct {
    hashevict_step known;
    uint64_t unknown;
  } step{data.step.c_step(), 0};
  step.known.struct_size = sizeof step;
  for (const NamedOperation& operation : kOperations) {
    SCOPED_TRACE(operation.name);
    const auto call = [&](hashevict_error* error) {
      return operation.call(cache.handle(), &step.known, error, nullptr);
    };
    step.unknown = 0;
    EXPECT_EQ(outcome_of(call).status, HASHEVICT_OK);
    step.unknown = 1;
    expect_refused(outcome_of(call), {kInvalid, {"step", "struct_size", std::to_string(sizeof step)}});
  }
}

}  // namespace
}  // namespace hashevict::test
