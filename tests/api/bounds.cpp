// SPDX-License-Identifier: Apache-2.0
// Numbers at both ends of their ranges. The nearest bad ones are refused by a message that states exactly the bounds of
// this table; the nearest good ones are accepted.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr hashevict_status kInvalid = HASHEVICT_INVALID_ARGUMENT;

std::string range(int64_t low, int64_t high) {
  return std::to_string(low) + " to " + std::to_string(high);
}

// ------------------------------------------------------------------------------------------------------------- config

struct ConfigBound {
  std::string name;
  void (*set)(hashevict_config&, int64_t);
  int64_t low, high;
  int64_t step = 1;        ///< step between good values
  bool zero_too = false;   ///< 0 is also good
  std::string expected{};  ///< the message's text, unless it says "low to high"

  friend void PrintTo(const ConfigBound& row, std::ostream* stream) { *stream << row.name; }

  [[nodiscard]] std::string text() const {
    if (!expected.empty()) return expected;
    if (step > 1) return "a multiple of " + std::to_string(step) + " from " + range(low, high);
    return zero_too ? "0, or " + range(low, high) : range(low, high);
  }
};

#define HASHEVICT_FIELD(field) [](hashevict_config& c, int64_t value) { c.field = static_cast<int32_t>(value); }

const std::vector<ConfigBound> kConfigBounds{
    {"placement.backend", HASHEVICT_FIELD(placement.backend), 0, 2},
    {"placement.device", HASHEVICT_FIELD(placement.device), 0, INT32_MAX},
    {"shape.num_layers", HASHEVICT_FIELD(shape.num_layers), 1, 1 << 16},
    {"shape.num_sequences", HASHEVICT_FIELD(shape.num_sequences), 1, 1 << 24},
    {"shape.num_kv_heads",
     [](hashevict_config& c, int64_t value) {
       c.shape.num_kv_heads = c.shape.num_qo_heads = static_cast<int32_t>(value);
     },
     1, 1 << 14},
    {"shape.num_qo_heads", HASHEVICT_FIELD(shape.num_qo_heads), 2, 512, 2},
    {"shape.head_dim", HASHEVICT_FIELD(shape.head_dim), 8, 256, 8},
    {"shape.kv_head_offset", HASHEVICT_FIELD(shape.kv_head_offset), 0, 1 << 14},
    {"shape.dtype", HASHEVICT_FIELD(shape.dtype), 0, 2, 1, false, "FLOAT32 (0), FLOAT16 (1) or BFLOAT16 (2)"},
    {"shape.capacity", HASHEVICT_FIELD(shape.capacity), 15, 1 << 28},
    {"rule.policy", HASHEVICT_FIELD(rule.policy), 0, 6},
    {"rule.hash_bits", HASHEVICT_FIELD(rule.hash_bits), 8, 128, 1, false, "8, 16, 32, 64 or 128"},
    {"rule.hash_source", HASHEVICT_FIELD(rule.hash_source), 0, 1},
    {"rule.tie", HASHEVICT_FIELD(rule.tie), 0, 1},
    {"rule.num_sink_tokens",
     [](hashevict_config& c, int64_t value) {
       c.rule.num_sink_tokens = static_cast<int32_t>(value);
       c.rule.recent_window = 0;
       c.shape.capacity = 1 << 28;
     },
     0, (1 << 28) - 1},
    {"rule.recent_window",
     [](hashevict_config& c, int64_t value) {
       c.rule.num_sink_tokens = 100;
       c.rule.recent_window = static_cast<int32_t>(value);
       c.shape.capacity = 1 << 28;
     },
     0, (1 << 28) - 101},
    {"rule.centering", HASHEVICT_FIELD(rule.centering), 0, 2},
    {"rule.projection_kind", HASHEVICT_FIELD(rule.projection_kind), 0, 2},
    {"rule.importance_source", HASHEVICT_FIELD(rule.importance_source), 0, 1},
    {"placement.layout", HASHEVICT_FIELD(placement.layout), 0, 3},
    {"placement.page_size",
     [](hashevict_config& c, int64_t value) {
       c.placement.layout = HASHEVICT_LAYOUT_PAGED;
       c.placement.page_size = static_cast<int32_t>(value);
     },
     1, 1 << 28},
    {"execution.max_batch_tokens", [](hashevict_config& c, int64_t value) { c.execution.max_batch_tokens = value; }, 3,
     1 << 30, 1, true},
    {"execution.num_threads", HASHEVICT_FIELD(execution.num_threads), 0, 1024},
};

class OfConfig : public ::testing::TestWithParam<ConfigBound> {
 protected:
  static Outcome measure(int64_t value) {
    hashevict_config config = small_c_config();
    config.execution.max_batch_tokens = 0;
    GetParam().set(config, value);
    hashevict_bytes bytes;
    hashevict_bytes_init(&bytes);
    return outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&config, &bytes, error); });
  }
};

TEST_P(OfConfig, NearestBadNumbersAreRefusedByTheBoundsThatHold) {
  const ConfigBound& row = GetParam();
  for (const int64_t bad : {row.low - 1, row.high + 1}) {
    if (bad == INT64_C(1) << 31 || (bad == 0 && row.zero_too)) continue;  // the field cannot have this value
    const std::string message = "config." + row.name + " = " + std::to_string(bad) + ": expected " + row.text();
    expect_refused(measure(bad), {kInvalid, {message}});
  }
}

TEST_P(OfConfig, NearestGoodNumbersAreAccepted) {
  const ConfigBound& row = GetParam();
  for (const int64_t good : {row.low, row.high, row.zero_too ? 0 : row.low}) {
    const Outcome outcome = measure(good);
    if (row.name == "placement.backend" && outcome.status == HASHEVICT_UNSUPPORTED) continue;  // CUDA, but no device
    EXPECT_EQ(outcome.status, HASHEVICT_OK) << good << ": " << outcome.message;
  }
}

INSTANTIATE_TEST_SUITE_P(Bounds, OfConfig, ::testing::ValuesIn(kConfigBounds), [](const auto& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(Bounds, OfFractionsAreOneAndWhateverIsNegative) {
  for (float hashevict_rule::*const field : {&hashevict_rule::sink_fraction, &hashevict_rule::recent_fraction}) {
    hashevict_config config = small_c_config();
    config.rule.num_sink_tokens = config.rule.recent_window = 0;
    hashevict_bytes bytes;
    hashevict_bytes_init(&bytes);
    const auto measure = [&](float value) {
      config.rule.*field = value;
      return outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&config, &bytes, error); });
    };
    const std::string expected = "expected a fraction up to 1, or a negative number";
    expect_refused(measure(std::nextafter(1.0F, 2.0F)), {kInvalid, {"_fraction = 1.0000001", expected}});
    expect_refused(measure(std::nanf("")), {kInvalid, {"_fraction = nan", expected}});
    EXPECT_EQ(measure(-1e-45F).status, HASHEVICT_OK);
    EXPECT_EQ(measure(0.0F).status, HASHEVICT_OK);
    EXPECT_EQ(measure(0.95F).status, HASHEVICT_OK);
    expect_refused(measure(1.0F),
                   {kInvalid, {"config.shape.capacity = 20: expected at least", "20"}});  // no slot left for a victim
  }
}

// --------------------------------------------------------------------------------------------------------------- args

struct Number {
  std::string name;
  void (*set)(AnyArgs&, int64_t);
  int64_t low, high;
  AnyOperation operation;
  bool zero_too = false;  ///< 0 is also good
};

/// Runs an operation on one token after `change` has changed its arguments. The cache's rule uses no queries.
Outcome run(AnyOperation operation, const std::function<void(AnyArgs&)>& change) {
  Config config = small_config();
  config.rule.policy = Policy::window;
  Cache cache{config};
  StepData data{config, 1, 1};
  AnyArgs args = data.args;
  change(args);
  return outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); });
}

TEST(Bounds, OfArgumentsHold) {
  const std::array<Number, 5> numbers{{
      {"args.layer", [](AnyArgs& s, int64_t n) { s.layer = static_cast<int32_t>(n); }, 0, 1, any_decode},
      {"args.window", [](AnyArgs& s, int64_t n) { s.window = static_cast<int32_t>(n); }, 1, INT32_MAX, any_prefill,
       true},
      {"args.q.stride[0]", [](AnyArgs& s, int64_t n) { s.q.stride[0] = n; }, 0, INT64_C(1) << 48, any_decode},
      {"args.q.stride[1]",
       [](AnyArgs& s, int64_t n) {
         s.q.stride[1] = n;  // no token, since no memory is large enough
         s.q.shape[0] = s.k.shape[0] = s.slots.shape[0] = s.victims.shape[0] = 0;
       },
       0, (INT64_C(1) << 48) / 3, any_evict},
      {"args.k.shape[0]",
       [](AnyArgs& s, int64_t n) { s.q.shape[0] = s.k.shape[0] = s.slots.shape[0] = s.victims.shape[0] = n; }, 0, 3,
       any_evict},
  }};
  for (const Number& number : numbers) {
    SCOPED_TRACE(number.name);
    for (const int64_t bad : {number.low - 1, number.high + 1}) {
      if (bad == INT64_C(1) << 31 || (bad == 0 && number.zero_too)) continue;
      expect_refused(run(number.operation, [&](AnyArgs& s) { number.set(s, bad); }),
                     {kInvalid,
                      {number.name + " = " + std::to_string(bad) + ": expected " + (number.zero_too ? "0, or " : "") +
                       range(number.low, number.high)}});
    }
    for (const int64_t good : {number.low, number.high}) {
      if (number.name == "args.k.shape[0]" && good == 3) continue;  // the tensors have memory for one token
      const Outcome outcome = run(number.operation, [&](AnyArgs& s) { number.set(s, good); });
      EXPECT_EQ(outcome.status, HASHEVICT_OK) << outcome.message;
    }
  }
}

TEST(Bounds, OfTokensAreTheBatchWhereRowsAreNamed) {
  static const std::array<int32_t, 65> rows{};
  const auto evict = [](int64_t tokens) {
    return run(any_evict, [&](AnyArgs& s) {
      s.k.shape[0] = s.q.shape[0] = tokens;
      s.slots = s.victims = Tensor{};
      s.batch.row_to_sequence = Tensor{rows.data(), {tokens}};
    });
  };
  expect_refused(evict(65), {kInvalid, {"args.k.shape[0] = 65: expected 0 to 64, config.execution.max_batch_tokens"}});
  EXPECT_THAT(evict(64).message, ::testing::Not(::testing::HasSubstr("shape[0]")));
}

TEST(Bounds, OfModesAreThree) {
  for (const int32_t mode : {-1, 3}) {
    expect_refused(
        run(any_prefill, [&](AnyArgs& s) { s.mode = mode; }),
        {kInvalid, {"args.mode = " + std::to_string(mode) + ": expected REPLAY (0), WINDOW (1) or RECENT (2)"}});
  }
  for (const int32_t mode : {0, 1, 2}) {
    EXPECT_EQ(run(any_prefill, [&](AnyArgs& s) { s.mode = mode; }).status, HASHEVICT_OK);
  }
}

TEST(Bounds, OfScaleAndSoftCapAreZeroAndPositiveFiniteNumbers) {
  using Limits = std::numeric_limits<float>;
  for (float hashevict_softmax::*const field : {&hashevict_softmax::scale, &hashevict_softmax::logit_soft_cap}) {
    const auto decode = [&](float value) { return run(any_decode, [&](AnyArgs& s) { s.softmax.*field = value; }); };
    for (const float bad :
         {-Limits::denorm_min(), -1.0F, Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
      expect_refused(decode(bad), {kInvalid, {"expected a positive finite number, or 0 for "}});
    }
    for (const float good : {0.0F, -0.0F, Limits::denorm_min(), Limits::max()}) {
      EXPECT_EQ(decode(good).status, HASHEVICT_OK) << good;
    }
  }
}

TEST(Bounds, OfOutputStridesAreWhatTheSmallerOnesSpan) {
  const auto attend = [](int64_t stride) {
    Cache cache = used_cache();
    StepData data{small_config(), 2, 1};
    data.out.resize(1024);
    AnyArgs args = data.args;
    args.out = Tensor{data.out.data(), {2, 4, 16}, {stride, 16, 1}};
    return outcome_of([&](hashevict_error* error) { return any_attend(cache.handle(), &args, error, nullptr); });
  };
  expect_refused(attend(63), {kInvalid, {"args.out.stride[0] = 63: expected at least 64,"}});
  EXPECT_EQ(attend(64).status, HASHEVICT_OK);
}

// ------------------------------------------------------------------------------------------------- sequences and calls

TEST(Bounds, OfLayersAndSequencesSayWhetherAllMayBeMeant) {
  Cache cache = used_cache();
  hashevict_statistics statistics;
  hashevict_statistics_init(&statistics);
  const auto reset = [&](int32_t sequence) {
    return outcome_of(
        [&](hashevict_error* error) { return hashevict_reset(cache.handle(), sequence, error, nullptr); });
  };
  const auto count = [&](int32_t layer, int32_t sequence, int32_t kv_head = -1) {
    return outcome_of([&](hashevict_error* error) {
      return hashevict_get_statistics(cache.handle(), layer, kv_head, sequence, &statistics, error, nullptr);
    });
  };
  const auto fork = [&](int32_t source, int32_t target) {
    return outcome_of(
        [&](hashevict_error* error) { return hashevict_fork(cache.handle(), source, target, error, nullptr); });
  };
  for (const int32_t bad : {-2, 3}) {
    expect_refused(reset(bad), {kInvalid, {"sequence = " + std::to_string(bad) + ": expected -1 to 2"}});
    expect_refused(count(-1, bad), {kInvalid, {"sequence = " + std::to_string(bad) + ": expected -1 to 2"}});
  }
  for (const int32_t bad : {-2, 2}) {
    expect_refused(count(bad, -1), {kInvalid, {"layer = " + std::to_string(bad) + ": expected -1 to 1"}});
    expect_refused(count(-1, -1, bad), {kInvalid, {"kv_head = " + std::to_string(bad) + ": expected -1 to 1"}});
  }
  for (const int32_t bad : {-1, 3}) {
    expect_refused(fork(bad, 0), {kInvalid, {"source = " + std::to_string(bad) + ": expected 0 to 2"}});
    expect_refused(fork(0, bad), {kInvalid, {"target = " + std::to_string(bad) + ": expected 0 to 2"}});
  }
  EXPECT_EQ(count(1, 2).status, HASHEVICT_OK);
  EXPECT_EQ(count(-1, -1).status, HASHEVICT_OK);
  EXPECT_EQ(fork(0, 2).status, HASHEVICT_OK);
  EXPECT_EQ(reset(2).status, HASHEVICT_OK);
  EXPECT_EQ(reset(-1).status, HASHEVICT_OK);
}

TEST(Bounds, OfVectorsToEncodeAreThirtyOneBits) {
  Cache cache{small_config()};
  std::array<float, 32> x{};
  std::array<uint8_t, 4> codes{};
  const auto encode = [&](int64_t tokens) {
    const hashevict_tensor from = Tensor{x.data(), {tokens, 2, 16}};
    const hashevict_tensor to = Tensor{codes.data(), {tokens, 2, 2}};
    return outcome_of([&](hashevict_error* error) {
      return hashevict_encode(cache.handle(), 0, 0, HASHEVICT_ENCODE_KEYS, &from, &to, error, nullptr);
    });
  };
  for (const int64_t bad : {INT64_C(-1), INT64_C(1) << 30}) {
    expect_refused(encode(bad), {kInvalid, {"x.shape[0] = " + std::to_string(bad) + ": expected 0 to 1073741823"}});
  }
  EXPECT_EQ(encode(0).status, HASHEVICT_OK);
  EXPECT_EQ(encode(1).status, HASHEVICT_OK);
}

TEST(Bounds, OfStructSizesAreThoseOfTheMessage) {
  union {
    hashevict_config config;
    std::array<std::byte, 65544> room;
  } given;
  std::memset(&given, 0, sizeof given);
  const auto init = [&](size_t size) {
    return outcome_of([&](hashevict_error* error) { return hashevict_config_init_sized(&given.config, size, error); });
  };
  const size_t least = sizeof(hashevict_config);
  for (const size_t bad : {least - 1, size_t{65537}}) {
    expect_refused(init(bad), {kInvalid,
                               {"config->struct_size = " + std::to_string(bad) + ": expected " +
                                range(static_cast<int64_t>(least), 65536)}});
  }
  for (const size_t good : {least, size_t{65536}}) EXPECT_EQ(init(good).status, HASHEVICT_OK);
}

// -------------------------------------------------------------------------------------------------------------- memory

struct MemoryBound {
  std::string name;
  void (*set)(hashevict_memory&, int64_t);
  int64_t low, high;
  int64_t step = 1;  ///< step between good values

  [[nodiscard]] std::string text() const {
    return (step > 1 ? "a multiple of " + std::to_string(step) + " from " : "") + range(low, high);
  }

  friend void PrintTo(const MemoryBound& row, std::ostream* stream) { *stream << row.name; }
};

const int32_t g_offsets[4] = {0, 3, 6, 9};

const std::vector<MemoryBound> kMemoryBounds{
    {"num_pages", [](hashevict_memory& m, int64_t n) { m.num_pages = n; }, 1, INT32_MAX},
    {"block_table_stride", [](hashevict_memory& m, int64_t n) { m.block_table_stride = n; }, 3, (INT64_C(1) << 48) / 3},
    {"block_table_length",
     [](hashevict_memory& m, int64_t n) {
       m.block_table_offsets = g_offsets;
       m.block_table_length = n;
     },
     1, INT32_MAX},
    {"page_stride",
     [](hashevict_memory& m, int64_t n) {
       m.slot_stride = 128;
       m.head_stride = 64;
       m.page_stride = n;
       m.num_pages = 2;
     },
     64, INT64_C(1) << 48, 4},
    {"slot_stride",
     [](hashevict_memory& m, int64_t n) {
       m.slot_stride = n;
       m.head_stride = 8 * 64;
       m.page_stride = 2 * 8 * 64;
     },
     64, (INT64_C(1) << 48) / 7 / 4 * 4, 4},
};

class OfMemory : public ::testing::TestWithParam<MemoryBound> {
 protected:
  OfMemory() : config_{small_paged_config()}, lent_{config_} {}
  Outcome create(int64_t value) {
    const hashevict_config config = c_config_of(config_);
    hashevict_memory memory = lent_.memory.c_memory(2, 2);
    GetParam().set(memory, value);
    hashevict_cache* cache = nullptr;
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&config, &memory, &cache, error); });
    hashevict_cache_destroy(cache);
    return outcome;
  }
  Config config_;
  PagedMemory lent_;
};

TEST_P(OfMemory, NearestBadNumbersAreRefusedByTheBoundsThatHold) {
  const MemoryBound& row = GetParam();
  for (const int64_t bad : {row.low - 1, row.high + 1}) {
    expect_refused(create(bad),
                   {kInvalid, {"memory." + row.name + " = " + std::to_string(bad) + ": expected " + row.text()}});
  }
}

TEST_P(OfMemory, NearestGoodNumbersPassTheirBounds) {
  // No process has as much memory as the largest values describe, so parts of it seem to overlap.
  const MemoryBound& row = GetParam();
  for (const int64_t good : {row.low, row.high}) {
    const std::string message = create(good).message;
    EXPECT_TRUE(message.empty() || message.find("apart from") != std::string::npos ||
                message.find("no two slots share memory") != std::string::npos)
        << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Bounds, OfMemory, ::testing::ValuesIn(kMemoryBounds), CaseName{});

}  // namespace
}  // namespace hashevict::test
