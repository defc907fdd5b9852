// SPDX-License-Identifier: Apache-2.0
#include "cpu/head.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/convert.hpp"
#include "cpu/encode_kernel.hpp"
#include "cpu/scan_kernel.hpp"

namespace hashevict::cpu {
namespace {

/// fp32 fma chain in increasing element index, as the norm of every backend.
float squared_norm(const float* x, int32_t n) {
  float sum = 0.0F;
  for (int32_t e = 0; e < n; ++e) sum = std::fma(x[e], x[e], sum);
  return sum;
}

uint32_t code_distance(const uint8_t* a, const uint8_t* b, int32_t bytes) {
  uint32_t distance = 0;
  for (int32_t i = 0; i < bytes; ++i) {
    distance += static_cast<uint32_t>(__builtin_popcount(static_cast<unsigned>(a[i] ^ b[i])));
  }
  return distance;
}

/// Code of the mean of all keys seen.
void encode_mean(const Head& head, int32_t tokens_seen, const Scratch& scratch) {
  const int32_t dim = head.config().head_dim;
  const auto count = static_cast<float>(tokens_seen);
  for (int32_t e = 0; e < dim; ++e) {
    const float mean = head.key_sum[e] / count;
    scratch.vector[e] = head.settings().centered() ? mean - head.key_center[e] : mean;
  }
  encode_rows({scratch.vector, 1, head.projection, dim, head.config().hash_bits, scratch.probe});
}

/// Bit i is 1 iff at least half of all codes seen have it.
void encode_majority(const Head& head, int32_t tokens_seen, const Scratch& scratch) {
  for (int32_t byte = 0; byte < head.settings().code_bytes; ++byte) {
    unsigned bits = 0;
    for (int32_t i = 0; i < 8; ++i) {
      const bool set = 2 * int64_t{head.bit_counts[8 * byte + i]} >= tokens_seen;
      bits |= (set ? 1U : 0U) << i;
    }
    scratch.probe[byte] = static_cast<uint8_t>(bits);
  }
}

struct Probes {
  const uint8_t* codes = nullptr;
  int32_t count = 0;
};

Probes probes_of(core::Probe probe, const Head& head, const Token& token, const Scratch& scratch) {
  switch (probe) {
    case core::Probe::queries:
      return {token.query_codes, head.settings().group_size};
    case core::Probe::new_key:
      return {token.key_code, 1};
    case core::Probe::mean_key:
      encode_mean(head, token.position + 1, scratch);
      return {scratch.probe, 1};
    case core::Probe::majority:
      encode_majority(head, token.position + 1, scratch);
      return {scratch.probe, 1};
    default:
      return {};
  }
}

/// Whether so many slots are protected that the largest score is often one of theirs.
bool protects_many(const Head& head, int32_t num_slots) {
  return head.prompt_length > 0 || head.shape->recent_window > num_slots / 16;
}

/// Scores the valid slots into scratch.scores and updates accumulators; returns how many were scanned.
int32_t scan(const Head& head, const Token& token, core::Probe probe, const Scratch& scratch) {
  const int32_t length = std::min(token.position, head.shape->capacity);
  const auto num_slots = static_cast<int32_t>(core::round_up(length, kScanSlots));
  const Probes probes = probes_of(probe, head, token, scratch);
  core::StepFacts facts = head.facts;
  facts.token_position = token.position;
  score_slots({.config = &head.config(),
               .facts = facts,
               .codes = head.codes,
               .positions = head.positions,
               .accumulators = head.accumulators,
               .num_slots = num_slots,
               .code_bytes = head.settings().code_bytes,
               .probes = probes.codes,
               .num_probes = probes.count,
               .scores = scratch.scores,
               .many_protected = protects_many(head, num_slots)});
  return num_slots;
}

/// The victim's slot among scored ones.
int32_t choose(const Head& head, int32_t token_position, int32_t num_slots, const Scratch& scratch) {
  SelectSlot select{.scores = scratch.scores,
                    .positions = head.positions,
                    .num_slots = num_slots,
                    .first_position = std::max(head.shape->num_sink_tokens, head.prompt_length),
                    .end_position = token_position - head.shape->recent_window,
                    .oldest_first = head.config().tie == HASHEVICT_TIE_OLDEST,
                    .many_protected = protects_many(head, num_slots)};
  const int32_t unpinned = select_slot(select);
  if (unpinned >= 0 || head.prompt_length == 0) return unpinned;
  select.first_position = head.shape->num_sink_tokens;
  return select_slot(select);
}

int32_t choose_oldest(const Head& head, int32_t num_slots, const Scratch& scratch) {
  for (int32_t j = 0; j < num_slots; ++j) scratch.scores[j] = ~static_cast<uint32_t>(head.positions[j]);
  return select_slot({.scores = scratch.scores,
                      .positions = head.positions,
                      .num_slots = num_slots,
                      .first_position = head.shape->num_sink_tokens,
                      .end_position = INT32_MAX,
                      .oldest_first = true,
                      .many_protected = false});
}

template <class Rule>
int32_t find_slot(const Head& head, const Token& token, const Scratch& scratch, Choice choice) {
  const bool full = token.position >= head.shape->capacity;
  int32_t num_slots = head.shape->padded_capacity;
  const bool chooses = full && choice == Choice::rule;
  const bool accumulates = Rule::kAccumulates && (choice == Choice::rule || Rule::kNeedsNoSteps);
  if (chooses || accumulates) num_slots = scan(head, token, Rule::kProbe, scratch);
  if (!full) return token.position;
  return choice == Choice::rule ? choose(head, token.position, num_slots, scratch)
                                : choose_oldest(head, num_slots, scratch);
}

/// Rows that encode_tokens() lays down per token.
int32_t rows_per_token(const Head& head, bool with_queries) {
  return with_queries ? 1 + head.settings().group_size : 1;
}

/// Subtracts each row's centre; returns where the centred rows lie.
const float* center_rows(const Head& head, int32_t num_rows, int32_t per_token, const Scratch& scratch) {
  if (!head.settings().centered()) return scratch.rows;
  const int32_t dim = head.config().head_dim;
  for (int32_t row = 0; row < num_rows; ++row) {
    const int32_t kind = row % per_token;
    const float* const center = kind == 0 ? head.key_center : head.query_centers + int64_t{kind - 1} * dim;
    const float* const source = scratch.rows + int64_t{row} * dim;
    float* const target = scratch.centered + int64_t{row} * dim;
    for (int32_t e = 0; e < dim; ++e) target[e] = source[e] - center[e];
  }
  return scratch.centered;
}

}  // namespace

Head make_head(const core::Storage& storage, int32_t layer, int32_t sequence, int32_t kv_head) {
  const core::Settings& settings = storage.settings;
  const hashevict_config& config = settings.config;
  const core::LayerState& state = storage.layer_state(layer);
  const core::LayerSettings& shape = storage.layer_settings(layer);
  const int64_t pair = int64_t{sequence} * config.num_kv_heads + kv_head;
  const int64_t slot = pair * shape.padded_capacity;
  const int64_t first_query_head = int64_t{sequence} * config.num_qo_heads + int64_t{kv_head} * settings.group_size;
  const int32_t projection = config.projection_per_head != 0 ? kv_head : 0;
  return Head{
      .storage = &storage,
      .shape = &shape,
      .facts = {.token_position = 0,
                .hash_bits = config.hash_bits,
                .decay_shift = config.score_decay_shift,
                .layer = layer,
                .kv_head = config.kv_head_offset + kv_head,
                .seed = config.seed},
      .sequence = sequence,
      .kv_head = kv_head,
      .prompt_length = config.pin_prompt != 0 ? state.prompt_lengths[sequence] : 0,
      .codes = state.codes + slot * settings.code_bytes,
      .positions = state.positions + slot,
      .accumulators = state.accumulators + slot * core::accumulator_bytes(config),
      .key_sum = state.key_sums + pair * config.head_dim,
      .bit_counts = state.bit_counts + pair * config.hash_bits,
      .key_center = state.key_centers + pair * config.head_dim,
      .query_centers = state.query_centers + first_query_head * config.head_dim,
      .projection = state.projection + int64_t{projection} * config.head_dim * config.hash_bits,
      .keys = storage.keys(layer),
      .values = storage.values(layer),
      .address = core::slot_address(storage, layer, sequence, kv_head,
                                    core::block_table_row(settings, storage.memory, sequence)),
  };
}

void add_to_probe(const Head& head, const float* key, const uint8_t* key_code) {
  if (head.config().policy == HASHEVICT_POLICY_MEAN) {
    for (int32_t e = 0; e < head.config().head_dim; ++e) head.key_sum[e] += key[e];
  } else if (head.config().policy == HASHEVICT_POLICY_MAJORITY) {
    for (int32_t i = 0; i < head.config().hash_bits; ++i) head.bit_counts[i] += key_code[i / 8] >> (i % 8) & 1;
  }
}

core::NewToken new_token(const Head& head, const Token& token) {
  core::NewToken start{0, 0.0F};
  const int32_t bytes = head.settings().code_bytes;
  if (head.config().score_decay_shift > 0 && head.settings().uses_queries()) {
    for (int32_t g = 0; g < head.settings().group_size; ++g) {
      start.own_distance += code_distance(token.query_codes + int64_t{g} * bytes, token.key_code, bytes);
    }
  }
  const bool needs_norm = core::visit_rule(head.config(), [](auto rule) { return decltype(rule)::kNeedsNorm; });
  if (needs_norm) {
    start.squared_norm = squared_norm(token.key, head.config().head_dim);
  }
  return start;
}

void start_accumulator(const Head& head, int32_t slot, const core::NewToken& token) {
  core::visit_rule(head.config(), [&](auto rule) {
    using Rule = decltype(rule);
    if constexpr (core::kHasAccumulator<Rule>) {
      const auto start = Rule::start(token);
      std::memcpy(head.accumulators + static_cast<std::size_t>(slot) * sizeof start, &start, sizeof start);
    }
  });
}

Placement place_token(const Head& head, const Token& token, const Scratch& scratch, Choice choice) {
  add_to_probe(head, token.key, token.key_code);
  const int32_t slot = core::visit_rule(
      head.config(), [&](auto rule) { return find_slot<decltype(rule)>(head, token, scratch, choice); });
  const Placement placement{slot, head.positions[slot]};
  head.positions[slot] = token.position;
  const int32_t bytes = head.settings().code_bytes;
  std::memcpy(head.codes + int64_t{slot} * bytes, token.key_code, static_cast<std::size_t>(bytes));
  start_accumulator(head, slot, new_token(head, token));
  return placement;
}

void store_rows(const Head& head, const core::Step& step, int64_t token, int32_t slot, const Scratch& scratch) {
  const core::DType dtype = head.settings().dtype;
  const int32_t dim = head.config().head_dim;
  const int64_t offset = head.address(slot) * core::size_of(dtype);
  for (const auto& [input, base] : {std::pair{&step.k, head.keys}, std::pair{&step.v, head.values}}) {
    auto* const target = static_cast<unsigned char*>(base) + offset;
    const unsigned char* const source = input->at(token, head.kv_head);
    if (input->dtype == dtype && input->stride[2] == 1) {
      std::memcpy(target, source, static_cast<std::size_t>(dim) * static_cast<std::size_t>(core::size_of(dtype)));
    } else {
      load_row(input->dtype, source, input->stride[2], scratch.vector, dim);
      store_row(dtype, scratch.vector, target, 1, dim);
    }
  }
}

void encode_tokens(const Head& head, const core::Step& step, int64_t first, int32_t count, bool with_queries,
                   const Scratch& scratch) {
  const int32_t dim = head.config().head_dim;
  const int32_t group = head.settings().group_size;
  const int32_t per_token = rows_per_token(head, with_queries);
  float* row = scratch.rows;
  for (int32_t i = 0; i < count; ++i) {
    load_row(step.k.dtype, step.k.at(first + i, head.kv_head), step.k.stride[2], row, dim);
    row += dim;
    for (int32_t g = 0; g + 1 < per_token; ++g, row += dim) {
      const int64_t query_head = int64_t{head.kv_head} * group + g;
      load_row(step.q.dtype, step.q.at(first + i, query_head), step.q.stride[2], row, dim);
    }
  }
  const int32_t num_rows = count * per_token;
  encode_rows({center_rows(head, num_rows, per_token, scratch), num_rows, head.projection, dim, head.config().hash_bits,
               scratch.codes});
}

Token encoded_token(const Head& head, int32_t position, int32_t index, bool with_queries, const Scratch& scratch) {
  const int64_t row = int64_t{index} * rows_per_token(head, with_queries);
  const uint8_t* const codes = scratch.codes + row * head.settings().code_bytes;
  return Token{.position = position,
               .key = scratch.rows + row * head.config().head_dim,
               .key_code = codes,
               .query_codes = with_queries ? codes + head.settings().code_bytes : nullptr};
}

}  // namespace hashevict::cpu
