// SPDX-License-Identifier: Apache-2.0
// The kernel of a prompt's attention alone, on lives of keys that are rare in a replay, against plain loops in double
// precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/detail/element.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kUnit = 0x1p-24;

template <class T>
T& at(std::vector<T>& values, int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

/// Numbers in memory of a type. The memory ends with the last one.
struct Buffer {
  DType dtype = DType::float32;
  std::vector<float> numbers;
  std::vector<uint16_t> narrowed;

  void draw(std::mt19937& engine, DType type, int64_t count) {
    std::normal_distribution<float> normal;
    dtype = type;
    numbers.resize(static_cast<std::size_t>(count));
    for (float& x : numbers) x = round_to(dtype, normal(engine));
  }
  void* memory() {
    if (dtype == DType::float32) return numbers.data();
    narrowed.clear();
    for (const float x : numbers) narrowed.push_back(narrow(x, dtype));
    return narrowed.data();
  }
};

/// Two sequences, two KV heads, and rows of a prompt.
struct Problem {
  int32_t head_dim = 40;
  int32_t group_size = 4;
  int32_t capacity = 30;
  std::vector<int32_t> before{50, 7};  // tokens that a sequence has seen
  std::vector<int32_t> rows{1, 0};
  std::vector<int32_t> starts{0, 37, 40};
  DType cache = DType::bfloat16;
  DType queries = DType::bfloat16;
  DType tokens_type = DType::bfloat16;  // of the call's keys and values
  int32_t gap = 8;                      // elements between vectors
  float soft_cap = 0.0F;
  bool streamed = true;

  static constexpr int32_t kHeads = 2;
  Buffer old_keys, old_values, q, k, v;
  std::vector<uint32_t> deaths;
  std::vector<float> out, lse;

  [[nodiscard]] int32_t tokens() const { return starts.back(); }
  [[nodiscard]] int64_t slot_stride() const { return head_dim + gap; }
  [[nodiscard]] int64_t slot_row(int32_t sequence, int32_t head, int32_t slot) const {
    return ((int64_t{sequence} * kHeads + head) * capacity + slot) * slot_stride();
  }
  [[nodiscard]] int64_t token_row(int64_t token, int32_t head, int32_t heads) const {
    return (token * heads + head) * (head_dim + gap);
  }
  [[nodiscard]] int32_t slots(int32_t sequence) const {
    return std::min(before[static_cast<std::size_t>(sequence)], capacity);
  }
  uint32_t& death_of_slot(int32_t sequence, int32_t head, int32_t slot) {
    return at(deaths, (int64_t{sequence} * kHeads + head) * capacity + slot);
  }
  uint32_t& death_of_token(int32_t head, int64_t token) {
    return at(deaths, int64_t{2} * kHeads * capacity + int64_t{head} * tokens() + token);
  }

  /// A row's keys die at any time after their birth, some of them never.
  void draw(uint32_t seed) {
    std::mt19937 engine{seed};
    old_keys.draw(engine, cache, slot_row(1, kHeads - 1, capacity - 1) + head_dim);
    old_values.draw(engine, cache, slot_row(1, kHeads - 1, capacity - 1) + head_dim);
    const int32_t query_heads = kHeads * group_size;
    q.draw(engine, queries, token_row(tokens() - 1, query_heads - 1, query_heads) + head_dim);
    k.draw(engine, tokens_type, token_row(tokens() - 1, kHeads - 1, kHeads) + head_dim);
    v.draw(engine, tokens_type, token_row(tokens() - 1, kHeads - 1, kHeads) + head_dim);
    deaths.assign(static_cast<std::size_t>(kHeads * (2 * capacity + tokens())), 0xFFFFFFFFU);
    const auto death = [&](int32_t first, int32_t end) {
      const auto drawn = std::uniform_int_distribution<int32_t>{first, end + (end - first) / 2 + 1}(engine);
      return static_cast<uint32_t>(drawn >= end ? INT32_MAX : drawn);
    };
    for (std::size_t r = 0; r < rows.size(); ++r) {
      const int32_t count = starts[r + 1] - starts[r];
      for (int32_t h = 0; h < kHeads; ++h) {
        for (int32_t j = 0; rows[r] >= 0 && j < slots(rows[r]); ++j) death_of_slot(rows[r], h, j) = death(0, count);
        for (int32_t i = 0; i < count; ++i) death_of_token(h, starts[r] + i) = death(i + 1, count);
      }
    }
    for (int32_t s = 0; s < 2; ++s) {  // slots that hold nothing
      for (int32_t h = 0; h < kHeads; ++h) {
        for (int32_t j = slots(s); j < capacity; ++j) {
          for (int32_t e = 0; e < head_dim; ++e) {
            at(old_keys.numbers, slot_row(s, h, j) + e) = at(old_values.numbers, slot_row(s, h, j) + e) = kNaN;
          }
        }
      }
    }
  }

  void run(int32_t mode = HASHEVICT_PREFILL_REPLAY) {
    const int32_t query_heads = kHeads * group_size;
    out.assign(q.numbers.size(), -7.0F);
    lse.assign(static_cast<std::size_t>(tokens() * query_heads), -7.0F);
    PrefillParams p{};
    Layer& layer = p.evict.layer;
    alignas(16) static unsigned char unread[16];
    using core::HeadSettings;
    using core::Split;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content) \
  layer.state.name = reinterpret_cast<Element*>(unread);
    HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
    std::vector<int32_t> seen_of_heads, center_set(2);
    for (const int32_t seen : before) seen_of_heads.insert(seen_of_heads.end(), kHeads, seen);
    layer.state.tokens_seen = seen_of_heads.data();
    layer.state.center_set = center_set.data();
    layer.keys = old_keys.memory();
    layer.values = old_values.memory();
    layer.shape.format = {cache, head_dim};
    layer.shape.num_kv_heads = kHeads;
    layer.shape.group_size = group_size;
    layer.shape.head_dim = head_dim;
    layer.kv.slot_stride = slot_stride() * size_of(cache);
    layer.kv.head_offsets = capacity * layer.kv.slot_stride;
    layer.kv.sequence_stride = kHeads * layer.kv.head_offsets;
    layer.min_capacity = layer.max_capacity = capacity;
    layer.padded_slots = int64_t{kHeads} * capacity;
    std::vector<HeadSettings> heads;
    for (int32_t h = 0; h < kHeads; ++h) {
      heads.push_back({.capacity = capacity,
                       .num_sink_tokens = 0,
                       .recent_window = 0,
                       .first_split = 0,
                       .first_slot = int64_t{h} * capacity,
                       .slots_offset = h * layer.kv.head_offsets});
    }
    layer.state.heads = heads.data();
    p.evict.batch = {.row_to_sequence = rows.data(),
                     .cu_seqlens = starts.data(),
                     .rows = static_cast<int32_t>(rows.size()),
                     .tokens = tokens(),
                     .num_sequences = 2};
    const int64_t width = head_dim + gap;
    p.evict.q = {q.memory(), queries, {query_heads * width, width, 1}};
    p.evict.k = {k.memory(), tokens_type, {kHeads * width, width, 1}};
    p.evict.v = {v.memory(), tokens_type, {kHeads * width, width, 1}};
    p.mode = mode;
    p.window = 1000;
    p.scores = deaths.data();
    p.out = {out.data(), DType::float32, {query_heads * width, width, 1}};
    p.lse = {lse.data(), {query_heads, 1}};
    p.softmax = {0.3F, soft_cap};
    p.streamed = streamed ? 1 : 0;
    ASSERT_EQ(prepare_prefill_attend(layer).error, nullptr);
    ASSERT_EQ(launch_prefill_attend(p, {}), nullptr);
  }

  /// One key that a query sees.
  struct Seen {
    const float* key;
    const float* value;
    bool stored;  // as the cache rounds it
  };

  std::vector<Seen> seen_by(std::size_t r, int32_t index, int32_t head) {
    std::vector<Seen> seen;
    for (int32_t j = 0; j < slots(rows[r]); ++j) {
      if (streamed && death_of_slot(rows[r], head, j) <= static_cast<uint32_t>(index)) continue;
      seen.push_back({&at(old_keys.numbers, slot_row(rows[r], head, j)),
                      &at(old_values.numbers, slot_row(rows[r], head, j)), true});
    }
    for (int32_t i = 0; i <= index; ++i) {
      if (streamed && death_of_token(head, starts[r] + i) <= static_cast<uint32_t>(index)) continue;
      seen.push_back({&at(k.numbers, token_row(starts[r] + i, head, kHeads)),
                      &at(v.numbers, token_row(starts[r] + i, head, kHeads)), false});
    }
    return seen;
  }

  /// Compares one query vector with the loops, within the bound of the suites (tests/support/twins.cpp).
  void expect_query(std::size_t r, int32_t index, int32_t query_head) {
    SCOPED_TRACE("row " + std::to_string(r) + ", token " + std::to_string(index) + ", query head " +
                 std::to_string(query_head));
    const int64_t token = starts[r] + index;
    const float* const query = &at(q.numbers, token_row(token, query_head, kHeads * group_size));
    const auto dim = static_cast<std::size_t>(head_dim);
    std::vector<double> expected(dim), magnitude(dim);
    double sum = 0.0;
    double largest = 0.0;
    const std::vector<Seen> seen = seen_by(r, index, query_head / group_size);
    for (const Seen& one : seen) {
      const auto as_stored = [&](float x) { return static_cast<double>(one.stored ? x : round_to(cache, x)); };
      double logit = 0.0;
      double logit_magnitude = 0.0;
      for (std::size_t e = 0; e < dim; ++e) {
        const double product = static_cast<double>(0.3F) * static_cast<double>(query[e]) * as_stored(one.key[e]);
        logit += product;
        logit_magnitude += std::abs(product);
      }
      const auto cap = static_cast<double>(soft_cap);
      if (soft_cap != 0.0F) logit = cap * std::tanh(logit / cap);
      largest = std::max(largest, logit_magnitude);
      sum += std::exp(logit);
      for (std::size_t e = 0; e < dim; ++e) {
        expected[e] += std::exp(logit) * as_stored(one.value[e]);
        magnitude[e] += std::exp(logit) * std::abs(as_stored(one.value[e]));
      }
    }
    const double error = (static_cast<double>(head_dim + 8) * largest + 8.0 * static_cast<double>(soft_cap) +
                          10.0 * static_cast<double>(seen.size()) + 16.0) *
                         kUnit;
    for (std::size_t e = 0; e < dim; ++e) {
      const double got =
          static_cast<double>(at(out, token_row(token, query_head, kHeads * group_size) + static_cast<int64_t>(e)));
      ASSERT_NEAR(got, expected[e] / sum, (2.0 * error + kUnit) * magnitude[e] / sum) << "element " << e;
    }
    EXPECT_NEAR(static_cast<double>(at(lse, token * kHeads * group_size + query_head)), std::log(sum),
                error + std::abs(std::log(sum)) * kUnit);
  }

  void expect_all() {
    for (std::size_t r = 0; r < rows.size(); ++r) {
      for (int32_t i = 0; i < starts[r + 1] - starts[r]; ++i) {
        for (int32_t n = 0; n < kHeads * group_size; ++n) {
          ASSERT_NO_FATAL_FAILURE(expect_query(r, i, n));
        }
      }
    }
    for (int64_t i = 0; i + 1 < int64_t{tokens()} * kHeads * group_size; ++i) {  // gaps stay as they are
      for (int32_t e = head_dim; e < head_dim + gap; ++e) ASSERT_EQ(at(out, i * (head_dim + gap) + e), -7.0F);
    }
  }
};

class PrefillAttend : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, PrefillAttend, testing::Range(1U, 4U));

TEST_P(PrefillAttend, KeysAreSeenFromBirthToDeathOnTensorCores) {
  for (const DType dtype : {DType::bfloat16, DType::float16}) {
    Problem problem;
    problem.cache = problem.queries = problem.tokens_type = dtype;
    problem.draw(GetParam());
    problem.run();
    problem.expect_all();
  }
}

TEST_P(PrefillAttend, KeysAreSeenFromBirthToDeathInFp32) {
  Problem problem;
  problem.cache = problem.queries = problem.tokens_type = DType::float32;
  problem.head_dim = 24;
  problem.group_size = 2;
  problem.starts = {0, 75, 79};
  problem.draw(GetParam());
  problem.run();
  problem.expect_all();
}

TEST_P(PrefillAttend, QueriesOfAnotherTypeAreNotRounded) {
  Problem problem;
  problem.queries = DType::float32;
  problem.tokens_type = DType::float32;
  problem.gap = 3;  // rows that vector accesses must not touch
  problem.draw(GetParam());
  problem.run();
  problem.expect_all();
}

TEST_P(PrefillAttend, TensorCoresRoundTheCallsKeysAsTheCacheDoes) {
  Problem problem;
  problem.tokens_type = DType::float32;
  problem.gap = 3;
  problem.soft_cap = 4.0F;
  problem.draw(GetParam());
  problem.run();
  problem.expect_all();
}

TEST_P(PrefillAttend, FullSeesAllEarlierKeys) {
  Problem problem;
  problem.streamed = false;
  problem.draw(GetParam());
  problem.run();
  problem.expect_all();
}

TEST_P(PrefillAttend, MoreKeysThanOneRoundFinds) {
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    Problem problem;
    problem.cache = problem.queries = problem.tokens_type = dtype;
    problem.head_dim = 8;
    problem.group_size = 1;
    problem.capacity = 600;
    problem.before = {1200, 590};
    problem.starts = {0, 70, 73};
    problem.draw(GetParam());
    problem.run();
    problem.expect_all();
  }
}

TEST_P(PrefillAttend, LongRows) {
  for (const DType dtype : {DType::bfloat16, DType::float16, DType::float32}) {
    for (const int32_t head_dim : {128, 136, 256}) {
      Problem problem;
      problem.cache = problem.queries = problem.tokens_type = dtype;
      problem.head_dim = head_dim;
      problem.group_size = 3;
      problem.starts = {0, 4, 7};
      problem.draw(GetParam());
      problem.run();
      problem.expect_all();
    }
  }
}

TEST_P(PrefillAttend, GroupsOfMoreQueriesThanATileHas) {
  Problem problem;
  problem.head_dim = 8;
  problem.group_size = 70;
  problem.starts = {0, 3, 5};
  problem.draw(GetParam());
  problem.run();
  problem.expect_all();
}

TEST(PrefillAttend, RefusedRowsAreNotANumberAndSkippedRowsStay) {
  Problem problem;
  problem.rows = {-1, 0};
  problem.starts = {0, 2, 7};
  problem.streamed = false;
  problem.draw(4);
  problem.run(HASHEVICT_PREFILL_WINDOW);  // after an eviction
  EXPECT_EQ(at(problem.out, 0), -7.0F);
  EXPECT_EQ(at(problem.lse, 15), -7.0F);
  for (int32_t n = 0; n < 5 * 8; ++n) {
    EXPECT_TRUE(std::isnan(at(problem.out, problem.token_row(2, n, 8) + 39)));
    EXPECT_TRUE(std::isnan(at(problem.lse, 16 + n)));
  }
}

TEST(PrefillAttend, KeysThatAQueryDoesNotSeeMayBeAnything) {
  for (const DType dtype : {DType::bfloat16, DType::float32}) {
    Problem problem;
    problem.cache = problem.queries = problem.tokens_type = dtype;
    problem.draw(5);
    at(problem.k.numbers, problem.token_row(30, 1, 2)) = kNaN;
    problem.death_of_token(1, 30) = 33;
    if (dtype == DType::float32) at(problem.v.numbers, problem.token_row(30, 1, 2) + 3) = kNaN;
    problem.run();
    for (const int32_t index : {29, 33, 36}) problem.expect_query(0, index, 4);
    for (const int32_t index : {30, 32}) EXPECT_TRUE(std::isnan(at(problem.lse, index * 8 + 4)));
  }
}

}  // namespace
}  // namespace hashevict::kernels
