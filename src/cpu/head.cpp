// SPDX-License-Identifier: Apache-2.0
#include "cpu/head.hpp"

#include <cstddef>
#include <cstring>
#include <utility>

#include "cpu/convert.hpp"

namespace hashevict::cpu {
namespace {

unsigned char* row_at(void* base, const Head& head, int32_t slot) {
  return static_cast<unsigned char*>(base) + head.address(slot);
}

void start_accumulator(const Head& head, int32_t slot) {
  core::visit_rule(head.layer->rule.kind, [&](auto rule) {
    using Rule = decltype(rule);
    if constexpr (core::kHasAccumulator<Rule>) {
      const auto start = Rule::start();
      std::memcpy(head.accumulators + static_cast<std::size_t>(slot) * sizeof start, &start, sizeof start);
    }
  });
}

}  // namespace

void store_rows(const Head& head, const core::Step& step, int64_t token, int32_t slot, const Scratch& scratch) {
  const core::RowFormat& format = head.layer->shape.format;
  for (const auto& [input, base] : {std::pair{&step.k, head.layer->keys}, std::pair{&step.v, head.layer->values}}) {
    unsigned char* const target = row_at(base, head, slot);
    const unsigned char* const source = input->at(token, head.kv_head);
    if (input->dtype == format.dtype && input->stride[2] == 1) {
      std::memcpy(target, source, static_cast<std::size_t>(format.row_bytes()));
    } else {
      load_row(input->dtype, source, input->stride[2], scratch.vector, format.head_dim);
      store_row(format.dtype, scratch.vector, target, 1, format.head_dim);
    }
  }
}

void copy_rows(const Head& from, int32_t from_slot, const Head& to, int32_t to_slot) {
  const auto bytes = static_cast<std::size_t>(from.layer->shape.format.row_bytes());
  for (void* const base : {from.layer->keys, from.layer->values}) {
    std::memcpy(row_at(base, to, to_slot), row_at(base, from, from_slot), bytes);
  }
}

void move_token(const Head& head, int32_t from, int32_t to) {
  if (from == to) return;
  const auto copy = [&](uint8_t* items, int64_t bytes) {
    std::memcpy(items + to * bytes, items + from * bytes, static_cast<std::size_t>(bytes));
  };
  copy_rows(head, from, head, to);
  copy(head.codes, head.layer->rule.code_bytes);
  if (head.accumulators != nullptr) copy(head.accumulators, head.layer->rule.facts.accumulator_bytes);
  head.positions[to] = head.positions[from];
  if (head.importances != nullptr) head.importances[to] = head.importances[from];
  if (head.importance_slopes != nullptr) head.importance_slopes[to] = head.importance_slopes[from];
}

void add_key(const Head& head, const float* key) {
  if (!head.layer->rule.facts.needs_key_sums) return;
  for (int32_t e = 0; e < head.layer->shape.head_dim; ++e) head.key_sums[e] += key[e];
}

void enter_token(const Head& head, int32_t slot, int32_t position, const uint8_t* key_code,
                 const core::Importance& importance) {
  head.positions[slot] = position;
  const int32_t bytes = head.layer->rule.code_bytes;
  std::memcpy(head.codes + int64_t{slot} * bytes, key_code, static_cast<std::size_t>(bytes));
  start_accumulator(head, slot);
  if (head.importances != nullptr) head.importances[slot] = importance.value;
  if (head.importance_slopes != nullptr) head.importance_slopes[slot] = importance.slope;
}

}  // namespace hashevict::cpu
