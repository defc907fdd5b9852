// SPDX-License-Identifier: Apache-2.0
// Inputs of the attention kernels, and plain loops in double precision that judge the results.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/detail/element.cuh"
#include "kernels/launch.hpp"

namespace hashevict::kernels {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T>
T& at(std::vector<T>& values, int64_t i) {
  return values[static_cast<std::size_t>(i)];
}

inline std::vector<uint32_t> bits_of(const std::vector<float>& values) {
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
  bool tries_bulk = false;       // with the first seed: the other suites draw more orders of threads
  bool ran_bulk = false;

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
    tries_bulk = seed == 1;
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

  /// Makes one dimension of the last token of sequence 0, head 0, what only its own query may notice.
  void spoil_last_value(int32_t dim) {
    for (int32_t j = 0; j < at(lengths, 0); ++j) {
      if (at(positions, j) == at(tokens_seen, 0) - 1) at(values, row_of_slot(0, 0, j) + dim) = kNaN;
    }
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

  /// By loads, and by bulk copies where they can be had: the bits are the same.
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
    ran_bulk = tries_bulk && can_attend_bulk(p);
    if (!ran_bulk) return;
    const std::vector<uint32_t> loaded = bits_of(out);
    const std::vector<uint32_t> loaded_lse = bits_of(lse);
    std::fill(out.begin(), out.end(), kNaN);
    std::fill(lse.begin(), lse.end(), kNaN);
    ASSERT_EQ(prepare_attend_bulk(p.layer).error, nullptr);
    ASSERT_EQ(launch_attend_bulk(p, {}), nullptr);
    EXPECT_EQ(tickets, std::vector<uint32_t>(tickets.size(), 0));
    EXPECT_EQ(bits_of(out), loaded);
    EXPECT_EQ(bits_of(lse), loaded_lse);
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

}  // namespace hashevict::kernels
