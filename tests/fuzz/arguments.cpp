// SPDX-License-Identifier: Apache-2.0
// Structs with random fields: every call answers with a status and a message, never with a crash, and a refusal
// changes nothing. Extreme values are likely, so that limits and overflows are met.
#include <algorithm>
#include <limits>
#include <random>

#include "support.hpp"

namespace hashevict::test {
namespace {

constexpr uint64_t kSeed = 20240608;

/// Draws values that validators are likely to get wrong.
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

void spoil_config_field(hashevict_config& c, Garbage& garbage) {
  static constexpr std::array<int32_t hashevict_config::*, 22> kInts{&hashevict_config::backend,
                                                                     &hashevict_config::device,
                                                                     &hashevict_config::num_layers,
                                                                     &hashevict_config::num_sequences,
                                                                     &hashevict_config::num_qo_heads,
                                                                     &hashevict_config::num_kv_heads,
                                                                     &hashevict_config::head_dim,
                                                                     &hashevict_config::dtype,
                                                                     &hashevict_config::kv_head_offset,
                                                                     &hashevict_config::capacity,
                                                                     &hashevict_config::policy,
                                                                     &hashevict_config::hash_bits,
                                                                     &hashevict_config::hash_source,
                                                                     &hashevict_config::tie,
                                                                     &hashevict_config::num_sink_tokens,
                                                                     &hashevict_config::recent_window,
                                                                     &hashevict_config::pin_prompt,
                                                                     &hashevict_config::score_decay_shift,
                                                                     &hashevict_config::centering,
                                                                     &hashevict_config::projection_kind,
                                                                     &hashevict_config::projection_per_head,
                                                                     &hashevict_config::page_size};
  switch (garbage.below(10)) {
    case 0:
      c.sink_fraction = garbage.float32();
      break;
    case 1:
      c.recent_fraction = garbage.float32();
      break;
    case 2:
      c.max_batch_tokens = garbage.int64();
      break;
    case 3:
      c.layout = garbage.int32();
      break;
    case 4:
      c.seed = static_cast<uint64_t>(garbage.int64());
      break;
    case 5:
      if (garbage.one_in(4)) c.struct_size = garbage.struct_size(sizeof c);
      break;
    default:
      c.*kInts[garbage.below(kInts.size())] = garbage.int32();
      break;
  }
}

/// Creates the cache of an accepted config, if it is small, and takes some steps with it.
void use(const hashevict_config& c, uint64_t total_bytes) {
  constexpr uint64_t kSmall = 32U << 20;
  if (total_bytes > kSmall || c.layout == HASHEVICT_LAYOUT_PAGED) return;
  Cache cache{Config{c}};
  feed(cache, c.num_sequences - 1, 3, 1);
  (void)cache.save(c.num_sequences - 1, Stream{});
}

TEST(FuzzArguments, ConfigsAreRefusedOrWork) {
  int accepted = 0;
  for (uint64_t i = 0; i < 5000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    hashevict_config c = small_c_config();
    for (uint64_t n = 0; n <= garbage.below(4); ++n) spoil_config_field(c, garbage);
    hashevict_bytes bytes{};
    bytes.struct_size = sizeof bytes;
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

/// Room behind every tensor, so that whatever shape and stride a validator accepts stays within memory.
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
    case 3: {  // any stride that a validator may accept is within the room
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

void spoil_step(hashevict_step& step, Garbage& garbage) {
  const std::array tensors{&step.batch.row_to_sequence,
                           &step.batch.cu_seqlens,
                           &step.q,
                           &step.k,
                           &step.v,
                           &step.out,
                           &step.lse,
                           &step.slots,
                           &step.victims};
  switch (garbage.below(12)) {
    case 0:
      step.layer = garbage.int32();
      break;
    case 1:
      step.softmax_scale = garbage.float32();
      break;
    case 2:
      step.logit_soft_cap = garbage.float32();
      break;
    case 3:
      step.prefill_mode = garbage.int32();
      break;
    case 4:
      step.prefill_window = garbage.int32();
      break;
    case 5:
      if (garbage.one_in(4)) step.struct_size = garbage.struct_size(sizeof step);
      break;
    default:
      spoil_tensor(*tensors[garbage.below(tensors.size())], garbage);
      break;
  }
}

/// A step of `tokens` tokens in random rows, mostly valid, over `room`.
hashevict_step random_step(Room& room, Garbage& garbage) {
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
  Step step;
  step.row_to_sequence = Tensor{room.rows.data(), {rows}};
  step.cu_seqlens = Tensor{room.offsets.data(), {rows + 1}};
  step.q = Tensor{room.input.data(), {tokens, 4, 16}};
  step.k = Tensor{room.input.data() + 64, {tokens, 2, 16}};
  step.v = Tensor{room.input.data() + 99, {tokens, 2, 16}};
  step.out = Tensor{room.output.data(), {tokens, 4, 16}};
  if (garbage.one_in(2)) step.lse = Tensor{room.output.data() + kRoom / 2, {tokens, 4}};
  return step.c_step();
}

TEST(FuzzArguments, StepsAreRefusedOrWork) {
  constexpr std::array kOperations{hashevict_prefill, hashevict_evict, hashevict_append, hashevict_attend,
                                   hashevict_decode};
  Cache cache = used_cache();
  Room room;
  int accepted = 0;
  for (uint64_t i = 0; i < 30000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    hashevict_step step = random_step(room, garbage);
    for (uint64_t n = 0; n < garbage.below(4); ++n) spoil_step(step, garbage);
    const auto operation = kOperations[garbage.below(kOperations.size())];
    const bool sample = i % 50 == 0;
    const std::vector<std::byte> before = sample ? save_all(cache) : std::vector<std::byte>{};
    const Outcome outcome =
        outcome_of([&](hashevict_error* error) { return operation(cache.handle(), &step, error, nullptr); });
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
  EXPECT_GT(accepted, 3000) << "too few steps get past the validators for this test to mean much";
}

// ---------------------------------------------------------------------------------------------------------- memory

TEST(FuzzArguments, MemoryIsRefusedOrWorks) {
  alignas(HASHEVICT_ALIGNMENT) static std::array<std::byte, 1 << 20> buffer;
  const hashevict_config c = small_c_config();
  const std::vector<int32_t> table(64, 0);
  for (uint64_t i = 0; i < 5000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << kSeed + i);
    Garbage garbage{kSeed + i};
    // Only what is too small, misaligned or contradictory: the library cannot know how large lent memory really is.
    hashevict_memory memory;
    hashevict_memory_init(&memory);
    for (uint64_t n = 0; n <= garbage.below(3); ++n) {
      switch (garbage.below(9)) {
        case 0:
          memory.sequence_stride = garbage.int64();
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
