// SPDX-License-Identifier: Apache-2.0
// Structs with random fields. Every call must return a status and a message without a crash, and a refusal must change
// nothing. Extreme values are likely, so that limits and overflows occur.
#include <algorithm>
#include <limits>
#include <random>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr uint64_t kSeed = 20240608;

/// Draws values that validators are likely to handle wrongly.
class Garbage {
 public:
  explicit Garbage(uint64_t seed) : random_{seed} {}

  uint64_t below(uint64_t bound) { return random_() % bound; }
  bool one_in(uint64_t n) { return below(n) == 0; }

  int32_t int32() {
    static constexpr std::array kExtremes{INT32_MIN, -1000, -2, -1,  0,   1,       2,       3,       7,
                                          8,         16,    64, 255, 256, 1 << 14, 1 << 20, 1 << 28, INT32_MAX - 1,
                                          INT32_MAX};
    return one_in(4) ? static_cast<int32_t>(random_()) : kExtremes[below(kExtremes.size())];
  }
  int64_t int64() {
    static constexpr std::array<int64_t, 6> kExtremes{INT64_MIN,        INT64_MAX,        int64_t{1} << 31,
                                                      int64_t{1} << 48, int64_t{1} << 62, -1};
    if (one_in(3)) return kExtremes[below(kExtremes.size())];
    return one_in(3) ? static_cast<int64_t>(random_()) : int32();
  }
  float float32() {
    static constexpr std::array kExtremes{-1.0F,
                                          0.0F,
                                          0.25F,
                                          0.5F,
                                          1.0F,
                                          2.0F,
                                          -0.0F,
                                          1e-40F,
                                          std::numeric_limits<float>::infinity(),
                                          -std::numeric_limits<float>::infinity(),
                                          std::numeric_limits<float>::quiet_NaN(),
                                          std::numeric_limits<float>::max()};
    return kExtremes[below(kExtremes.size())];
  }
  size_t struct_size(size_t known) {
    const std::array<size_t, 6> sizes{0, known - 1, known / 2, SIZE_MAX, SIZE_MAX / 2, size_t{1} << 40};
    return sizes[below(sizes.size())];
  }

 private:
  std::mt19937_64 random_;
};

// ---------------------------------------------------------------------------------------------------------- configs

void spoil_shape(hashevict_shape& shape, Garbage& garbage) {
  static constexpr std::array kInts{&hashevict_shape::num_layers,     &hashevict_shape::num_sequences,
                                    &hashevict_shape::num_qo_heads,   &hashevict_shape::num_kv_heads,
                                    &hashevict_shape::head_dim,       &hashevict_shape::dtype,
                                    &hashevict_shape::kv_head_offset, &hashevict_shape::capacity};
  shape.*kInts[garbage.below(kInts.size())] = garbage.int32();
}

void spoil_rule(hashevict_rule& rule, Garbage& garbage) {
  static constexpr std::array kInts{&hashevict_rule::policy,
                                    &hashevict_rule::hash_bits,
                                    &hashevict_rule::hash_source,
                                    &hashevict_rule::tie,
                                    &hashevict_rule::num_sink_tokens,
                                    &hashevict_rule::recent_window,
                                    &hashevict_rule::pin_prompt,
                                    &hashevict_rule::centering,
                                    &hashevict_rule::projection_kind,
                                    &hashevict_rule::projection_per_head,
                                    &hashevict_rule::importance_source,
                                    &hashevict_rule::importance_slopes};
  switch (garbage.below(6)) {
    case 0:
      rule.sink_fraction = garbage.float32();
      break;
    case 1:
      rule.recent_fraction = garbage.float32();
      break;
    case 2:
      rule.seed = static_cast<uint64_t>(garbage.int64());
      break;
    default:
      rule.*kInts[garbage.below(kInts.size())] = garbage.int32();
      break;
  }
}

void spoil_placement_or_execution(hashevict_config& c, Garbage& garbage) {
  switch (garbage.below(5)) {
    case 0:
      c.placement.backend = garbage.int32();
      break;
    case 1:
      c.placement.device = garbage.int32();
      break;
    case 2:
      c.placement.layout = garbage.int32();
      break;
    case 3:
      c.placement.page_size = garbage.int32();
      break;
    default:
      c.execution.max_batch_tokens = garbage.int64();
      break;
  }
}

/// @param rules two rules that the config may point to
void spoil_config_field(hashevict_config& c, std::array<hashevict_rule, 2>& rules, Garbage& garbage) {
  switch (garbage.below(10)) {
    case 0:
    case 1:
    case 2:
      return spoil_shape(c.shape, garbage);
    case 3:
    case 4:
    case 5:
      return spoil_rule(c.rule, garbage);
    case 6:
      if (c.shape.num_layers == static_cast<int32_t>(rules.size())) c.layer_rules = rules.data();
      return spoil_rule(rules[garbage.below(rules.size())], garbage);
    case 7:
      if (garbage.one_in(8)) c.struct_size = garbage.struct_size(sizeof c);
      if (garbage.one_in(8)) c.rule.reserved[garbage.below(4)] = garbage.below(2);
      return;
    default:
      return spoil_placement_or_execution(c, garbage);
  }
}

/// Creates the cache of an accepted config, if it is small, and takes some steps with it.
void use(const hashevict_config& c, uint64_t total_bytes) {
  constexpr uint64_t kSmall = 32U << 20;
  if (total_bytes > kSmall || c.placement.layout == HASHEVICT_LAYOUT_PAGED) return;
  Cache cache{Config{c}};
  learn_projections(cache, 1);
  set_importance_weights(cache, 1);
  feed(cache, c.shape.num_sequences - 1, 3, 1);
  (void)cache.save(c.shape.num_sequences - 1, Stream{});
}

TEST(FuzzArguments, ConfigsAreRefusedOrWork) {
  int accepted = 0;
  for (uint64_t i = 0; i < 5000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    hashevict_config c = small_c_config();
    std::array<hashevict_rule, 2> rules{c.rule, c.rule};
    for (uint64_t n = 0; n <= garbage.below(4); ++n) spoil_config_field(c, rules, garbage);
    if (c.shape.num_layers > 2) c.layer_rules = nullptr;  // the number of layers was corrupted later
    hashevict_bytes bytes;
    hashevict_bytes_init(&bytes);
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return hashevict_required_bytes(&c, &bytes, error); });
    if (outcome.status == HASHEVICT_OK) {
      ASSERT_EQ(bytes.total, bytes.keys + bytes.values + bytes.state + bytes.workspace);
      ASSERT_NO_THROW(use(c, bytes.total));
      ++accepted;
    } else {
      ASSERT_TRUE(outcome.status == HASHEVICT_INVALID_ARGUMENT || outcome.status == HASHEVICT_UNSUPPORTED)
          << hashevict_status_name(outcome.status) << ": " << outcome.message;
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(accepted, 200) << "too few configs get past the validator for this test to mean much";
}

// ----------------------------------------------------------------------------------------------------------- steps

/// Room behind every tensor, so that any shape and stride that a validator accepts stays within memory.
constexpr int64_t kMaxTokens = 64;
constexpr int64_t kRoom = kMaxTokens * 4 * 16 * 8;

struct Room {
  std::vector<float> input = normal_numbers(kRoom, 1);
  std::vector<float> output = std::vector<float>(kRoom);
  std::array<int32_t, kMaxTokens + 2> offsets{}, rows{};
};

void spoil_tensor(hashevict_tensor& tensor, Garbage& garbage) {
  const uint64_t axis = garbage.below(HASHEVICT_MAX_RANK);
  switch (garbage.below(6)) {
    case 0:
      tensor.rank = garbage.int32();
      break;
    case 1:
      tensor.dtype = garbage.int32();
      break;
    case 2:
      tensor.shape[axis] = garbage.int64();
      break;
    case 3: {  // any stride that a validator may accept stays within the room
      const std::array<int64_t, 8> strides{INT64_MIN, -1, 0, 1, 2, 16, 128, INT64_MAX};
      tensor.stride[axis] = strides[garbage.below(strides.size())];
      break;
    }
    case 4:
      tensor.data = nullptr;
      break;
    default:
      if (tensor.data != nullptr) tensor.data = static_cast<char*>(tensor.data) + garbage.below(4);
      break;
  }
}

void spoil_args(AnyArgs& args, Garbage& garbage) {
  const std::array<hashevict_tensor*, 11> tensors{&args.batch.row_to_sequence,
                                                  &args.batch.cu_seqlens,
                                                  &args.q,
                                                  &args.k,
                                                  &args.v,
                                                  &args.out,
                                                  &args.lse,
                                                  &args.slots,
                                                  &args.victims,
                                                  &args.importance,
                                                  &args.importance_slope};
  switch (garbage.below(14)) {
    case 0:
      args.layer = garbage.int32();
      break;
    case 1:
      args.softmax.scale = garbage.float32();
      break;
    case 2:
      args.softmax.logit_soft_cap = garbage.float32();
      break;
    case 3:
      args.mode = garbage.int32();
      break;
    case 4:
      args.window = garbage.int32();
      break;
    case 6:
      args.attention = garbage.one_in(2) ? HASHEVICT_PREFILL_STREAMED : garbage.int32();
      break;
    case 7:
      args.queries = garbage.one_in(2) ? HASHEVICT_QUERIES_AFTER : garbage.int32();
      break;
    case 5:
      if (garbage.one_in(4)) args.struct_size = garbage.struct_size(sizeof(hashevict_attend_args));
      break;
    default:
      spoil_tensor(*tensors[garbage.below(tensors.size())], garbage);
      break;
  }
}

/// Arguments of `tokens` tokens in random rows, mostly valid, over `room`.
AnyArgs random_args(Room& room, Garbage& garbage) {
  const auto tokens = static_cast<int64_t>(garbage.below(8));
  const auto rows = static_cast<int64_t>(1 + garbage.below(3));
  room.offsets.fill(static_cast<int32_t>(tokens));
  room.rows.fill(-1);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    room.offsets[row] = row == 0 ? 0 : static_cast<int32_t>(garbage.below(static_cast<uint64_t>(tokens) + 1));
    room.rows[row] = static_cast<int32_t>(row);
  }
  std::sort(room.offsets.begin(), room.offsets.begin() + rows);
  std::shuffle(room.rows.begin(), room.rows.begin() + rows, std::mt19937_64{garbage.below(1000)});
  if (garbage.one_in(3)) room.rows[0] = garbage.one_in(2) ? -1 : garbage.int32();
  if (garbage.one_in(6)) room.offsets[garbage.below(static_cast<uint64_t>(rows) + 1)] = garbage.int32();
  AnyArgs args;
  args.batch.row_to_sequence = Tensor{room.rows.data(), {rows}};
  args.batch.cu_seqlens = Tensor{room.offsets.data(), {rows + 1}};
  args.q = Tensor{room.input.data(), {tokens, 4, 16}};
  args.k = Tensor{room.input.data() + 64, {tokens, 2, 16}};
  args.v = Tensor{room.input.data() + 99, {tokens, 2, 16}};
  args.out = Tensor{room.output.data(), {tokens, 4, 16}};
  if (garbage.one_in(2)) args.lse = Tensor{room.output.data() + kRoom / 2, {tokens, 4}};
  return args;
}

TEST(FuzzArguments, ArgumentsAreRefusedOrWork) {
  Config by_importance = small_config();
  by_importance.rule.policy = Policy::importance;
  by_importance.rule.importance_slopes = 1;
  std::array<Cache, 2> caches{used_cache(), used_cache(by_importance)};
  Room room;
  int accepted = 0;
  for (uint64_t i = 0; i < 30000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    AnyArgs args = random_args(room, garbage);
    Cache& cache = caches[i % caches.size()];
    if (i % caches.size() == 1) {
      args.importance = Tensor{room.input.data(), {args.k.shape[0], 2}};
      args.importance_slope = Tensor{room.input.data() + 7, {args.k.shape[0], 2}};
    }
    for (uint64_t n = 0; n < garbage.below(4); ++n) spoil_args(args, garbage);
    const auto operation = kAnyOperations[garbage.below(kAnyOperations.size())];
    const bool sample = i % 50 == 0;
    const std::vector<std::byte> before = sample ? save_all(cache) : std::vector<std::byte>{};
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &args, error, nullptr); });
    if (outcome.status == HASHEVICT_OK) {
      ++accepted;
    } else {
      ASSERT_TRUE(outcome.status == HASHEVICT_INVALID_ARGUMENT || outcome.status == HASHEVICT_INVALID_STATE)
          << hashevict_status_name(outcome.status) << ": " << outcome.message;
      if (sample) {
        ASSERT_TRUE(save_all(cache) == before) << outcome.message;
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(accepted, 3000) << "too few arguments get past the validators for this test to mean much";
}

// ---------------------------------------------------------------------------------------------------------- memory

TEST(FuzzArguments, MemoryIsRefusedOrWorks) {
  alignas(HASHEVICT_ALIGNMENT) static std::array<std::byte, 1 << 20> buffer;
  const hashevict_config c = small_c_config();
  const std::vector<int32_t> table(64, 0);
  for (uint64_t i = 0; i < 5000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    // Only memory that is too small, misaligned or contradictory: the library cannot know how large lent memory really
    // is.
    hashevict_memory memory;
    hashevict_memory_init(&memory);
    std::array<int64_t, 2> strides{};
    for (uint64_t n = 0; n <= garbage.below(3); ++n) {
      switch (garbage.below(9)) {
        case 0:
          strides = {garbage.int64(), garbage.int64()};
          memory.sequence_strides = strides.data();
          break;
        case 1:
          memory.head_stride = garbage.int64();
          break;
        case 2:
          memory.slot_stride = garbage.int64();
          break;
        case 3:
          memory.page_stride = garbage.int64();
          break;
        case 4:
          memory.block_table = table.data();
          break;
        case 5:
          memory.block_table_stride = garbage.int64();
          break;
        case 6:
          memory.num_pages = garbage.int64();
          break;
        case 7:
          memory.state = buffer.data() + garbage.below(4) * 128;
          memory.state_bytes = garbage.one_in(2) ? buffer.size() - 512 : garbage.below(1024);
          break;
        default:
          memory.workspace = buffer.data() + garbage.below(4) * 128;
          memory.workspace_bytes = garbage.below(1024);
          break;
      }
    }
    hashevict_cache* cache = nullptr;
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return hashevict_cache_create(&c, &memory, &cache, error); });
    ASSERT_EQ(cache == nullptr, outcome.status != HASHEVICT_OK);
    if (cache == nullptr) {
      ASSERT_EQ(outcome.status, HASHEVICT_INVALID_ARGUMENT) << outcome.message;
    }
    hashevict_cache_destroy(cache);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace hashevict::test
