// SPDX-License-Identifier: Apache-2.0
#include "memory.hpp"

#include <algorithm>
#include <hashevict/cache.hpp>
#include <hashevict/status.hpp>
#include <string>

namespace hashevict::cli {
namespace {

constexpr int64_t kFloat = 4;
constexpr int64_t kWeight = 2;  // bytes, in the smallest type of a checkpoint

int64_t heads_width(const engine::ModelConfig& model) {
  return (int64_t{model.num_qo_heads} + 2 * int64_t{model.num_kv_heads}) * model.head_dim;
}

}  // namespace

void require_memory(std::string_view options, uint64_t needed) {
  require_memory(options, needed, Cache::capabilities(Backend::cpu).host_memory_bytes);
}

void require_memory(std::string_view options, uint64_t needed, uint64_t present) {
  if (needed < present) return;
  throw Error(Status::out_of_memory, std::string(options) + ": " + std::to_string(needed) +
                                         " bytes are needed; this process may use " + std::to_string(present));
}

uint64_t decoder_bytes(const engine::ModelConfig& model, int64_t num_parameters, int64_t batch_tokens) {
  const int64_t mlp = model.intermediate_size;
  const int64_t queries = int64_t{model.num_qo_heads} * model.head_dim;
  const int64_t of_a_token =
      2 * int64_t{model.hidden_size} + std::max(heads_width(model), 2 * mlp) + std::max(queries, mlp) + model.head_dim;
  return static_cast<uint64_t>(kWeight * num_parameters + kFloat * (batch_tokens * of_a_token + model.vocab_size));
}

uint64_t trace_bytes(const engine::ModelConfig& model, int64_t num_tokens) {
  constexpr int64_t kGrowth = 2;  // a growing vector reserves twice its size
  return static_cast<uint64_t>(kGrowth * kFloat * model.num_layers * num_tokens * heads_width(model));
}

}  // namespace hashevict::cli
