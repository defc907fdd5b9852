// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/failure.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

bool is_index(const hashevict_tensor& tensor) {
  return tensor.dtype == HASHEVICT_INT32 && tensor.rank == 1 && (tensor.shape[0] <= 1 || tensor.stride[0] == 1);
}

const int32_t* check_index(const hashevict_tensor& tensor, const char* name, const char* shape) {
  if (tensor.data == nullptr) return nullptr;
  require(is_index(tensor), "step.batch.{}: expected a contiguous INT32 tensor of shape {}", name, shape);
  require(reinterpret_cast<uintptr_t>(tensor.data) % alignof(int32_t) == 0,
          "step.batch.{}.data = {}: expected a multiple of 4", name, tensor.data);
  return static_cast<const int32_t*>(tensor.data);
}

/// Finds rows and tokens from whatever tells them, and checks that all agree.
void check_batch(const hashevict_step& s, const Settings& settings, int64_t tokens, Step& step) {
  const hashevict_batch& batch = s.batch;
  step.row_to_sequence = check_index(batch.row_to_sequence, "row_to_sequence", "[rows]");
  step.cu_seqlens = check_index(batch.cu_seqlens, "cu_seqlens", "[rows + 1]");
  require(tokens <= settings.max_batch_tokens, "step: tokens = {}: expected at most config.max_batch_tokens = {}",
          tokens, settings.max_batch_tokens);
  int64_t rows = tokens;
  if (step.cu_seqlens != nullptr) {
    const int64_t offsets = batch.cu_seqlens.shape[0];
    require(offsets >= 1, "step.batch.cu_seqlens.shape[0] = {}: expected rows + 1", offsets);
    rows = offsets - 1;
  }
  if (step.row_to_sequence != nullptr) {
    require(batch.row_to_sequence.shape[0] == rows, "step.batch.row_to_sequence.shape[0] = {}: expected rows = {}",
            batch.row_to_sequence.shape[0], rows);
  } else {
    require(rows <= settings.sequences(),
            "step: rows = {}: expected at most num_sequences = {} where row_to_sequence is absent", rows,
            settings.sequences());
  }
  require(rows <= settings.max_batch_tokens, "step: rows = {}: expected at most config.max_batch_tokens = {}", rows,
          settings.max_batch_tokens);
  step.rows = static_cast<int32_t>(rows);
  step.tokens = tokens;
}

/// A tensor of this operation that must be there.
TensorView required_tensor(const hashevict_tensor& tensor, const TensorSpec& spec) {
  require(present(tensor), "{}.data = NULL: expected a tensor", spec.name);
  return validate_tensor(tensor, spec);
}

TensorView optional_tensor(const hashevict_tensor& tensor, const TensorSpec& spec) {
  return tensor.data == nullptr ? TensorView{} : validate_tensor(tensor, spec);
}

void check_inputs(const hashevict_step& s, const Settings& settings, Operation operation, Step& step) {
  const int64_t dim = settings.config.head_dim;
  const TensorSpec q{"step.q", true, {}, {step.tokens, settings.config.num_qo_heads, dim}, false};
  const TensorSpec k{"step.k", true, {}, {step.tokens, settings.heads(), dim}, false};
  const TensorSpec v{"step.v", true, {}, {step.tokens, settings.heads(), dim}, false};
  const bool attends = operation == Operation::attend || operation == Operation::decode;
  const bool selects_by_query = operation == Operation::prefill && s.prefill_mode == HASHEVICT_PREFILL_WINDOW;
  const bool needs_q = attends || settings.uses_queries() || selects_by_query;
  step.q = needs_q ? required_tensor(s.q, q) : optional_tensor(s.q, q);
  if (operation != Operation::attend) step.k = required_tensor(s.k, k);
  if (operation != Operation::attend && operation != Operation::evict) step.v = required_tensor(s.v, v);
}

void check_outputs(const hashevict_step& s, const Settings& settings, Operation operation, Step& step) {
  const int64_t qo_heads = settings.config.num_qo_heads;
  if (operation == Operation::attend || operation == Operation::decode) {
    step.out = required_tensor(s.out, {"step.out", true, {}, {step.tokens, qo_heads, settings.config.head_dim}, true});
    step.lse = optional_tensor(s.lse, {"step.lse", false, DType::float32, {step.tokens, qo_heads, kNoDim}, true});
  }
  if (operation != Operation::attend) {
    const std::array<int64_t, 3> shape{step.tokens, settings.heads(), kNoDim};
    step.slots = optional_tensor(s.slots, {"step.slots", false, DType::int32, shape, true});
    step.victims = optional_tensor(s.victims, {"step.victims", false, DType::int32, shape, true});
  }
}

void check_scalars(const hashevict_step& s, const Settings& settings, Operation operation, Step& step) {
  if (operation == Operation::attend || operation == Operation::decode) {
    require(std::isfinite(s.softmax_scale) && s.softmax_scale >= 0.0F,
            "step.softmax_scale = {}: expected a finite number, or 0 for 1 / sqrt(head_dim)", s.softmax_scale);
    require(std::isfinite(s.logit_soft_cap) && s.logit_soft_cap >= 0.0F,
            "step.logit_soft_cap = {}: expected a finite number, or 0 for none", s.logit_soft_cap);
    step.logit_soft_cap = s.logit_soft_cap;
    step.softmax_scale = s.softmax_scale > 0.0F
                             ? s.softmax_scale
                             : static_cast<float>(1.0 / std::sqrt(static_cast<double>(settings.config.head_dim)));
  }
  if (operation == Operation::prefill) {
    require(s.prefill_mode >= HASHEVICT_PREFILL_REPLAY && s.prefill_mode <= HASHEVICT_PREFILL_RECENT,
            "step.prefill_mode = {}: expected REPLAY (0), WINDOW (1) or RECENT (2)", s.prefill_mode);
    require(s.prefill_window >= 1, "step.prefill_window = {}: expected 1 or more", s.prefill_window);
    step.prefill_mode = static_cast<hashevict_prefill_mode>(s.prefill_mode);
    step.prefill_window = s.prefill_window;
  }
}

void check_rows(const Step& step, const Settings& settings, uint8_t* seen) {
  std::fill_n(seen, settings.sequences(), uint8_t{0});
  if (step.cu_seqlens != nullptr) {
    require(step.cu_seqlens[0] == 0, "step.batch.cu_seqlens[0] = {}: expected 0", step.cu_seqlens[0]);
    require(step.cu_seqlens[step.rows] == step.tokens, "step.batch.cu_seqlens[{}] = {}: expected tokens = {}",
            step.rows, step.cu_seqlens[step.rows], step.tokens);
  }
  for (int32_t row = 0; row < step.rows; ++row) {
    require(step.first_token(row) <= step.end_token(row),
            "step.batch.cu_seqlens[{}] = {}: expected at least the offset before it, {}", row + 1, step.end_token(row),
            step.first_token(row));
    const int32_t sequence = step.sequence(row);
    if (sequence == -1) continue;
    require(sequence >= 0 && sequence < settings.config.num_sequences,
            "step.batch.row_to_sequence[{}] = {}: expected -1 to {}", row, sequence, settings.config.num_sequences - 1);
    require(seen[sequence] == 0, "step.batch.row_to_sequence[{}] = {}: expected each sequence in one row only", row,
            sequence);
    seen[sequence] = 1;
  }
}

}  // namespace

bool present(const hashevict_tensor& tensor) {
  if (tensor.data != nullptr) return true;
  const auto rank = static_cast<std::size_t>(std::clamp(tensor.rank, 0, HASHEVICT_MAX_RANK));
  return std::find(tensor.shape, tensor.shape + rank, 0) != tensor.shape + rank;
}

TensorView validate_tensor(const hashevict_tensor& tensor, const TensorSpec& spec) {
  const bool is_float =
      tensor.dtype == HASHEVICT_FLOAT32 || tensor.dtype == HASHEVICT_FLOAT16 || tensor.dtype == HASHEVICT_BFLOAT16;
  if (spec.any_float) {
    require(is_float, "{}.dtype = {}: expected FLOAT32 (0), FLOAT16 (1) or BFLOAT16 (2)", spec.name, tensor.dtype);
  } else {
    require(tensor.dtype == static_cast<int32_t>(spec.dtype), "{}.dtype = {}: expected {}", spec.name, tensor.dtype,
            static_cast<int32_t>(spec.dtype));
  }
  const auto rank = static_cast<int32_t>(spec.shape.size() - (spec.shape.back() == kNoDim ? 1 : 0));
  require(tensor.rank == rank, "{}.rank = {}: expected {}", spec.name, tensor.rank, rank);
  TensorView view{static_cast<unsigned char*>(tensor.data), static_cast<DType>(tensor.dtype), {}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(rank); ++i) {
    require(tensor.shape[i] == spec.shape[i], "{}.shape[{}] = {}: expected {}", spec.name, i, tensor.shape[i],
            spec.shape[i]);
    constexpr int64_t kMaxStride = int64_t{1} << 48;
    const bool overlaps = spec.written && tensor.shape[i] > 1 && tensor.stride[i] == 0;
    require(tensor.stride[i] >= 0 && tensor.stride[i] <= kMaxStride && !overlaps,
            "{}.stride[{}] = {}: expected {} elements or more", spec.name, i, tensor.stride[i], spec.written ? 1 : 0);
    view.stride[i] = tensor.stride[i];
  }
  const auto alignment = static_cast<uintptr_t>(size_of(view.dtype));
  require(reinterpret_cast<uintptr_t>(tensor.data) % alignment == 0,
          "{}.data = {}: expected a multiple of the element size {}", spec.name, tensor.data, alignment);
  return view;
}

Step validate_step(const hashevict_step* given, const Settings& settings, Operation operation) {
  const hashevict_step s = read_versioned(given, "step");
  validate_layer(settings, s.layer);
  const hashevict_tensor& leading = operation == Operation::attend ? s.q : s.k;
  const char* const name = operation == Operation::attend ? "step.q" : "step.k";
  require(present(leading), "{}.data = NULL: expected a tensor", name);
  require(leading.rank == 3, "{}.rank = {}: expected 3", name, leading.rank);
  require(leading.shape[0] >= 0, "{}.shape[0] = {}: expected a number of tokens", name, leading.shape[0]);
  Step step;
  step.layer = s.layer;
  check_batch(s, settings, leading.shape[0], step);
  check_scalars(s, settings, operation, step);
  check_inputs(s, settings, operation, step);
  check_outputs(s, settings, operation, step);
  return step;
}

void validate_batch_contents(const Step& step, const Settings& settings, const CacheMemory& memory,
                             const LayerState& state, Operation operation, uint8_t* seen) {
  check_rows(step, settings, seen);
  const int32_t capacity = settings.layers[static_cast<std::size_t>(step.layer)].capacity;
  for (int32_t row = 0; row < step.rows; ++row) {
    const int32_t sequence = step.sequence(row);
    if (sequence < 0) continue;
    const int64_t tokens = step.end_token(row) - step.first_token(row);
    const int64_t before = state.tokens_seen[sequence];
    if (operation == Operation::attend) {
      const int64_t most = std::max<int64_t>(before, 1);  // of an empty sequence too: its attention is zero
      require(tokens <= most,
              "step: row {} brings {} query tokens: expected at most {}, since sequence {} has seen {} tokens", row,
              tokens, most, sequence, before);
      validate_pages(settings, memory, sequence, static_cast<int32_t>(std::min<int64_t>(before, capacity)));
      continue;
    }
    require(before + tokens <= INT32_MAX, "step: row {} brings sequence {} to {} tokens: expected at most {}", row,
            sequence, before + tokens, INT32_MAX);
    validate_pages(settings, memory, sequence, static_cast<int32_t>(std::min<int64_t>(before + tokens, capacity)));
  }
}

}  // namespace hashevict::core
