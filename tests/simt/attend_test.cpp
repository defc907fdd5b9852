// SPDX-License-Identifier: Apache-2.0
// The attention kernel alone, on inputs that are rare in a cache, against plain loops in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/detail/element.cuh"
#include "kernels/launch.hpp"
#include "support/enum_name.hpp"

namespace hashevict::kernels {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T>
T& at(std::vector<T>& values, int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<uint32_t>(value));
  return bits;
}

/// Two sequences, two KV heads, and a batch of query tokens. Rows are strided, with gaps. Every buffer ends with the
/// last element that the kernel may touch.
struct Problem {
  int32_t head_dim = 64;
  int32_t group_size = 4;
  int32_t capacity = 600;
  std::vector<int32_t> lengths{600, 37};
  std::vector<int32_t> tokens_seen{600, 37};
  std::vector<int32_t> rows{1, 0};
  std::vector<int32_t> starts;  // empty: one token per row
  int32_t slot_gap = 8;         // elements between rows
  int32_t lead = 0;             // elements before the first row
  float soft_cap = 0.0F;
  DType dtype = DType::float32;  // type of keys, values and queries

  static constexpr int32_t kHeads = 2;
  std::vector<float> keys, values, q, out, lse, partial_values, maxima, sums;
  std::vector<int32_t> positions;
  std::vector<uint32_t> tickets;

  [[nodiscard]] int32_t tokens() const { return starts.empty() ? static_cast<int32_t>(rows.size()) : starts.back(); }
  [[nodiscard]] int64_t slot_stride() const { return head_dim + slot_gap; }
  [[nodiscard]] int64_t row_of_slot(int32_t sequence, int32_t head, int32_t slot) const {
    return lead + ((int64_t{sequence} * kHeads + head) * capacity + slot) * slot_stride();
  }

  void draw(uint32_t seed) {
    std::mt19937 engine{seed};
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& to, int64_t count) {
      to.resize(static_cast<std::size_t>(count));
      for (float& x : to) x = round_to(dtype, normal(engine));
    };
    const int64_t slots = row_of_slot(1, kHeads - 1, capacity - 1) + head_dim;
    fill(keys, slots);
    fill(values, slots);
    fill(q, int64_t{tokens()} * kHeads * group_size * head_dim);
    positions.assign(static_cast<std::size_t>(2 * kHeads * capacity), -1);
    for (int32_t s = 0; s < 2; ++s) {
      for (int32_t h = 0; h < kHeads; ++h) {
        for (int32_t j = 0; j < capacity; ++j) {
          if (j < at(lengths, s)) {
            at(positions, (s * kHeads + h) * capacity + j) =
                at(tokens_seen, s) - at(lengths, s) + (j * 7 + h) % at(lengths, s);
          } else {
            for (int32_t e = 0; e < head_dim; ++e) {
              at(keys, row_of_slot(s, h, j) + e) = at(values, row_of_slot(s, h, j) + e) = kNaN;
            }
          }
        }
      }
    }
    tickets.assign(2 * kHeads, 0);
  }

  /// A number of each sequence, for each of its heads.
  static std::vector<int32_t> of_heads(const std::vector<int32_t>& of_sequences) {
    std::vector<int32_t> all;
    for (const int32_t number : of_sequences) all.insert(all.end(), kHeads, number);
    return all;
  }

  /// The memory that the kernel reads: the numbers themselves, or their narrowed copies in `narrowed`.
  [[nodiscard]] const void* data_of(const std::vector<float>& numbers, std::vector<uint16_t>& narrowed) const {
    if (dtype == DType::float32) return numbers.data();
    for (const float x : numbers) narrowed.push_back(narrow(x, dtype));
    return narrowed.data();
  }

  void run(bool split) {
    std::vector<uint16_t> narrow_keys, narrow_values, narrow_q;
    const auto bytes = dtype == DType::float32 ? sizeof(float) : sizeof(uint16_t);
    const auto from_lead = [&](const void* data) {
      return const_cast<unsigned char*>(static_cast<const unsigned char*>(data)) +
             static_cast<std::size_t>(lead) * bytes;
    };
    out.assign(q.size(), kNaN);
    lse.assign(static_cast<std::size_t>(tokens() * kHeads * group_size), kNaN);
    const int32_t splits = core::splits_of(capacity, core::split_bits_of(capacity));
    const auto rows_of_partials = static_cast<std::size_t>(2 * kHeads * splits * group_size);
    partial_values.assign(rows_of_partials * static_cast<std::size_t>(head_dim), kNaN);
    maxima = sums = std::vector<float>(rows_of_partials, kNaN);
    AttendParams p{};
    // Arrays that attention does not read have addresses, too: an offset from nullptr is undefined.
    alignas(16) static unsigned char unread[16];
    using core::HeadSettings;
    using core::Split;
#define HASHEVICT_PART(name, Element, scope, elements, empty, content) \
  p.layer.state.name = reinterpret_cast<Element*>(unread);
    HASHEVICT_STATE_PARTS(HASHEVICT_PART)
#undef HASHEVICT_PART
    p.partials = {.values = partial_values.data(),
                  .maxima = maxima.data(),
                  .sums = sums.data(),
                  .keys = reinterpret_cast<uint64_t*>(unread),
                  .slots = reinterpret_cast<int32_t*>(unread),
                  .logits = reinterpret_cast<float*>(unread)};
    p.layer.state.positions = positions.data();
    std::vector<int32_t> lengths_of_heads = of_heads(lengths);
    std::vector<int32_t> tokens_seen_of_heads = of_heads(tokens_seen);
    p.layer.state.lengths = lengths_of_heads.data();
    p.layer.state.tokens_seen = tokens_seen_of_heads.data();
    p.layer.state.token_tickets = tickets.data();
    p.layer.keys = from_lead(data_of(keys, narrow_keys));
    p.layer.values = from_lead(data_of(values, narrow_values));
    p.layer.shape.format = {dtype, head_dim};
    p.layer.kv.sequence_stride = kHeads * capacity * slot_stride() * size_of(dtype);
    p.layer.kv.head_offsets = capacity * slot_stride() * size_of(dtype);
    p.layer.kv.slot_stride = slot_stride() * size_of(dtype);
    p.layer.shape.num_kv_heads = kHeads;
    p.layer.shape.group_size = group_size;
    p.layer.shape.head_dim = head_dim;
    p.layer.min_capacity = p.layer.max_capacity = capacity;
    p.layer.padded_slots = int64_t{kHeads} * capacity;
    std::vector<core::HeadSettings> heads;
    std::vector<core::Split> split_list;
    for (int32_t h = 0; h < kHeads; ++h) {
      heads.push_back({.capacity = capacity,
                       .num_sink_tokens = 0,
                       .recent_window = 0,
                       .first_split = h * splits,
                       .first_slot = int64_t{h} * capacity,
                       .slots_offset = h * p.layer.kv.head_offsets});
      for (int32_t i = 0; i < splits; ++i) split_list.push_back({h, i});
    }
    p.layer.state.heads = heads.data();
    p.layer.state.splits = split_list.data();
    p.layer.num_splits = kHeads * splits;
    p.batch = {.row_to_sequence = rows.data(),
               .cu_seqlens = starts.empty() ? nullptr : starts.data(),
               .rows = static_cast<int32_t>(rows.size()),
               .tokens = tokens(),
               .num_sequences = 2};
    const int64_t width = kHeads * group_size * head_dim;
    p.q = {data_of(q, narrow_q), dtype, {width, head_dim, 1}};
    p.out = {out.data(), DType::float32, {width, head_dim, 1}};
    p.lse = {lse.data(), {kHeads * group_size, 1}};
    p.softmax = {0.3F, soft_cap};
    p.split = split ? 1 : 0;
    ASSERT_EQ(prepare_attend(p.layer).error, nullptr);
    ASSERT_EQ(launch_attend(p, {}), nullptr);
    EXPECT_EQ(tickets, std::vector<uint32_t>(tickets.size(), 0));
  }

  /// Compares one query vector with the loops. `position` INT32_MAX: the query sees all slots.
  void expect_row(int32_t token, int32_t sequence, int32_t position) {
    for (int32_t n = 0; n < kHeads * group_size; ++n) {
      SCOPED_TRACE("token " + std::to_string(token) + ", query head " + std::to_string(n));
      const int64_t query = (int64_t{token} * kHeads * group_size + n) * head_dim;
      const int32_t head = n / group_size;
      std::vector<double> expected(static_cast<std::size_t>(head_dim), 0.0);
      double sum = 0.0;
      for (int32_t j = 0; j < at(lengths, sequence); ++j) {
        if (at(positions, (sequence * kHeads + head) * capacity + j) > position) continue;
        const int64_t row = row_of_slot(sequence, head, j);
        double logit = 0.0;
        for (int32_t e = 0; e < head_dim; ++e) {
          logit += static_cast<double>(at(q, query + e)) * static_cast<double>(at(keys, row + e));
        }
        logit *= static_cast<double>(0.3F);
        const auto cap = static_cast<double>(soft_cap);
        if (soft_cap != 0.0F) logit = cap * std::tanh(logit / cap);
        sum += std::exp(logit);
        for (int32_t e = 0; e < head_dim; ++e) {
          at(expected, e) += std::exp(logit) * static_cast<double>(at(values, row + e));
        }
      }
      for (int32_t e = 0; e < head_dim; ++e) {
        ASSERT_NEAR(static_cast<double>(at(out, query + e)), sum == 0.0 ? 0.0 : at(expected, e) / sum, 2e-5) << e;
      }
      const auto told = static_cast<double>(at(lse, token * kHeads * group_size + n));
      if (sum == 0.0) {
        EXPECT_EQ(told, -std::numeric_limits<double>::infinity());
      } else {
        EXPECT_NEAR(told, std::log(sum), 2e-5);
      }
    }
  }

  /// Goes through the splits in both ways and expects results that are equal to the bit.
  void run_both_ways() {
    run(false);
    const std::vector<uint32_t> alone = bits_of(out);
    const std::vector<uint32_t> alone_lse = bits_of(lse);
    run(true);
    EXPECT_EQ(bits_of(out), alone);
    EXPECT_EQ(bits_of(lse), alone_lse);
  }
};

class AttendKernel : public testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, AttendKernel, testing::Range(1U, 4U));

TEST_P(AttendKernel, SplitsAreMergedInOrderByOneBlockAndByMany) {
  for (const int32_t length : {1, 255, 256, 257, 513, 600}) {
    SCOPED_TRACE("length " + std::to_string(length));
    Problem problem;
    problem.head_dim = 24;
    problem.group_size = 2;
    problem.lengths[0] = problem.tokens_seen[0] = length;
    problem.draw(GetParam());
    problem.run_both_ways();
    problem.expect_row(0, 1, INT32_MAX);
    problem.expect_row(1, 0, INT32_MAX);
  }
}

TEST(AttendOfLongHeads, TakesSplitsInStages) {
  for (const int32_t group_size : {1, 4}) {
    Problem problem;
    problem.dtype = DType::bfloat16;
    problem.head_dim = 8;
    problem.group_size = group_size;
    problem.capacity = 8300;  // so splits have 512 slots
    problem.lengths = problem.tokens_seen = {8300, 700};
    problem.draw(1);
    problem.run_both_ways();
    problem.expect_row(1, 0, INT32_MAX);
  }
}

TEST_P(AttendKernel, EveryShapeOfLanesAndTilesAgrees) {
  for (const int32_t head_dim : {64, 72, 256}) {
    for (const int32_t group_size : {1, 2, 3, 11}) {
      SCOPED_TRACE("head_dim " + std::to_string(head_dim) + ", group_size " + std::to_string(group_size));
      Problem problem;
      problem.head_dim = head_dim;
      problem.group_size = group_size;
      problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
      problem.soft_cap = 5.0F;
      problem.draw(GetParam());
      problem.run_both_ways();
      problem.expect_row(0, 1, INT32_MAX);
      problem.expect_row(1, 0, INT32_MAX);
    }
  }
}

TEST(AttendOnTensorCores, AgreesInEveryShape) {
  for (const DType dtype : {DType::float16, DType::bfloat16}) {
    for (const int32_t head_dim : {64, 80, 128, 256}) {
      for (const int32_t group_size : {4, 8, 11}) {
        SCOPED_TRACE("dtype " + std::to_string(static_cast<int>(dtype)) + ", head_dim " + std::to_string(head_dim) +
                     ", group_size " + std::to_string(group_size));
        Problem problem;
        problem.dtype = dtype;
        problem.head_dim = head_dim;
        problem.group_size = group_size;
        problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
        problem.soft_cap = head_dim == 80 ? 5.0F : 0.0F;
        problem.draw(1);
        problem.run_both_ways();
        problem.expect_row(0, 1, INT32_MAX);
        problem.expect_row(1, 0, INT32_MAX);
      }
    }
  }
}

class RowsThatAreNotAligned : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, RowsThatAreNotAligned,
                         testing::Values(DType::float32, DType::float16, DType::bfloat16));

TEST_P(RowsThatAreNotAligned, GiveTheSameBits) {
  Problem aligned;
  aligned.dtype = GetParam();
  aligned.draw(1);
  aligned.run(true);
  for (const int32_t gap : {3, 5}) {
    for (const int32_t lead : {0, 1}) {
      Problem other;
      other.dtype = GetParam();
      other.slot_gap = gap;
      other.lead = lead;
      other.draw(1);
      other.q = aligned.q;
      for (int32_t s = 0; s < 2; ++s) {
        for (int32_t h = 0; h < Problem::kHeads; ++h) {
          for (int32_t j = 0; j < other.capacity; ++j) {
            for (int32_t e = 0; e < other.head_dim; ++e) {
              at(other.keys, other.row_of_slot(s, h, j) + e) = at(aligned.keys, aligned.row_of_slot(s, h, j) + e);
              at(other.values, other.row_of_slot(s, h, j) + e) = at(aligned.values, aligned.row_of_slot(s, h, j) + e);
            }
          }
        }
      }
      other.run(true);
      EXPECT_EQ(other.out, aligned.out);
      EXPECT_EQ(other.lse, aligned.lse);
    }
  }
}

TEST_P(AttendKernel, TokensOfARowSeeWhatWasThereAndPaddingIsLeftAlone) {
  Problem problem;
  problem.head_dim = 16;
  problem.group_size = 1;
  problem.rows = {-1, 1, 0, 5};
  problem.starts = {0, 2, 2, 42, 45};  // sequence 0 has 40 queries; the last row names no sequence of the cache
  problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
  problem.draw(GetParam());
  problem.run(false);
  for (const int32_t i : {0, 17, 39}) problem.expect_row(2 + i, 0, 270 - 40 + i);
  for (int32_t token = 0; token < 45; ++token) {
    const bool skipped = token < 2 || token >= 42;
    EXPECT_EQ(std::isnan(at(problem.out, token * 32)), skipped) << "token " << token;
    EXPECT_EQ(std::isnan(at(problem.lse, token * 2)), skipped) << "token " << token;
  }
}

TEST_P(AttendKernel, SeveralQueriesOfASequenceThatHasEvictedAreNotANumber) {
  for (const bool split : {false, true}) {
    Problem problem;
    problem.starts = {0, 2, 4};
    problem.tokens_seen[0] = 601;  // of sequence 0, in the second row
    problem.draw(GetParam());
    problem.run(split);
    const auto half = static_cast<std::ptrdiff_t>(problem.out.size() / 2);
    const auto is_nan = [](float x) { return std::isnan(x); };
    EXPECT_TRUE(std::none_of(problem.out.begin(), problem.out.begin() + half, is_nan));
    EXPECT_TRUE(std::all_of(problem.out.begin() + half, problem.out.end(), is_nan));
    EXPECT_TRUE(std::all_of(problem.lse.begin() + 16, problem.lse.end(), is_nan));
  }
}

TEST_P(AttendKernel, QueriesBeforeTheFirstTokenAndEmptySequencesSeeNothing) {
  Problem problem;
  problem.lengths = {0, 2};
  problem.tokens_seen = {0, 2};
  problem.starts = {0, 4, 5};
  problem.draw(GetParam());
  problem.run(false);
  for (int32_t i = 0; i < 4; ++i) problem.expect_row(i, 1, i - 2);
  problem.expect_row(4, 0, INT32_MAX);
}

TEST_P(AttendKernel, TensorCoresHideWhatIsNotToBeSeen) {
  Problem problem;
  problem.dtype = DType::bfloat16;
  problem.rows = {1, 0};
  problem.starts = {0, 2, 22};
  problem.capacity = problem.lengths[0] = problem.tokens_seen[0] = 270;
  problem.draw(GetParam());
  at(problem.values, problem.row_of_slot(1, 0, 5) + 3) = kNaN;
  problem.run(false);
  EXPECT_TRUE(std::isnan(at(problem.out, 3)));  // a single dimension
  EXPECT_FALSE(std::isnan(at(problem.out, 4)));
  for (const int32_t i : {0, 7, 19}) problem.expect_row(2 + i, 0, 270 - 20 + i);
}

TEST_P(AttendKernel, NumbersBeyondTheFloatsReachTheResult) {
  Problem problem;
  problem.group_size = 1;
  problem.draw(GetParam());
  at(problem.keys, problem.row_of_slot(0, 0, 300)) = kNaN;
  at(problem.keys, problem.row_of_slot(0, 1, 300)) = std::numeric_limits<float>::infinity();
  at(problem.q, 2 * 64) = 0.0F;
  at(problem.q, 3 * 64) = -1.0F;  // a logit of -infinity: the slot has weight 0
  at(problem.values, problem.row_of_slot(1, 0, 5) + 3) = kNaN;
  problem.run_both_ways();
  EXPECT_TRUE(std::isnan(at(problem.out, 2 * 64 + 9)));
  EXPECT_TRUE(std::isnan(at(problem.lse, 2)));
  EXPECT_FALSE(std::isnan(at(problem.out, 3 * 64 + 9)));
  EXPECT_TRUE(std::isnan(at(problem.out, 3)));
  EXPECT_FALSE(std::isnan(at(problem.out, 4)));
}

}  // namespace
}  // namespace hashevict::kernels
