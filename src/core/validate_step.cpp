// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"

namespace hashevict::core {
namespace {

/// The arguments of an operation. Tensors that it does not take are null.
struct Given {
  Operation operation;
  int32_t layer;
  const hashevict_batch* batch;
  const hashevict_tensor *q = nullptr, *k = nullptr, *v = nullptr;
  const hashevict_tensor *out = nullptr, *lse = nullptr, *slots = nullptr, *victims = nullptr;
  const hashevict_tensor *importance = nullptr, *importance_slope = nullptr;
  const hashevict_softmax* softmax = nullptr;
  int32_t mode = HASHEVICT_PREFILL_REPLAY;
  int32_t window = 0;
  int32_t attention = HASHEVICT_PREFILL_STREAMED;
  int32_t queries = HASHEVICT_QUERIES_LAST;
  bool changes_state = true;
};

Given given(const hashevict_prefill_args& a) {
  return {.operation = Operation::prefill,
          .layer = a.layer,
          .batch = &a.batch,
          .q = &a.q,
          .k = &a.k,
          .v = &a.v,
          .out = &a.out,
          .lse = &a.lse,
          .slots = &a.slots,
          .victims = &a.victims,
          .importance = &a.importance,
          .importance_slope = &a.importance_slope,
          .softmax = &a.softmax,
          .mode = a.mode,
          .window = a.window,
          .attention = a.attention};
}

Given given(const hashevict_evict_args& a) {
  return {.operation = Operation::evict,
          .layer = a.layer,
          .batch = &a.batch,
          .q = &a.q,
          .k = &a.k,
          .slots = &a.slots,
          .victims = &a.victims,
          .importance = &a.importance,
          .importance_slope = &a.importance_slope};
}

Given given(const hashevict_append_args& a) {
  return {.operation = Operation::append,
          .layer = a.layer,
          .batch = &a.batch,
          .q = &a.q,
          .k = &a.k,
          .v = &a.v,
          .slots = &a.slots,
          .victims = &a.victims,
          .importance = &a.importance,
          .importance_slope = &a.importance_slope};
}

Given given(const hashevict_attend_args& a) {
  return {.operation = Operation::attend,
          .layer = a.layer,
          .batch = &a.batch,
          .q = &a.q,
          .out = &a.out,
          .lse = &a.lse,
          .softmax = &a.softmax,
          .queries = a.queries,
          .changes_state = false};
}

Given given(const hashevict_decode_args& a) {
  return {.operation = Operation::decode,
          .layer = a.layer,
          .batch = &a.batch,
          .q = &a.q,
          .k = &a.k,
          .v = &a.v,
          .out = &a.out,
          .lse = &a.lse,
          .slots = &a.slots,
          .victims = &a.victims,
          .importance = &a.importance,
          .importance_slope = &a.importance_slope,
          .softmax = &a.softmax};
}

bool is_index(const hashevict_tensor& tensor) {
  return tensor.dtype == HASHEVICT_INT32 && tensor.rank == 1 && (tensor.shape[0] <= 1 || tensor.stride[0] == 1);
}

const int32_t* check_index(const hashevict_tensor& tensor, const char* name, const char* shape) {
  if (tensor.data == nullptr) return nullptr;
  require(is_index(tensor), "{}: expected a contiguous INT32 tensor of shape {}", name, shape);
  require_aligned({name, "data"}, tensor.data, alignof(int32_t));
  return static_cast<const int32_t*>(tensor.data);
}

/// Derives rows and tokens from the index arrays and from `tokens`, the first extent of tensor `leading`, and checks
/// that they agree.
void check_batch(const hashevict_batch& batch, const Settings& settings, const char* leading, int64_t tokens,
                 Step& step) {
  step.row_to_sequence = check_index(batch.row_to_sequence, "args.batch.row_to_sequence", "[rows]");
  step.cu_seqlens = check_index(batch.cu_seqlens, "args.batch.cu_seqlens", "[rows + 1]");
  const bool named = step.row_to_sequence != nullptr;
  const int64_t most_tokens = settings.execution.max_batch_tokens;
  const int64_t most_rows = named ? most_tokens : std::min<int64_t>(most_tokens, settings.shape.num_sequences);
  const char* const why = named ? ", the rows that config.execution.max_batch_tokens allows"
                                : ", since without row_to_sequence rows are the first of config.shape.num_sequences";
  const Field field{leading, "shape", 0};
  int64_t rows = tokens;
  if (step.cu_seqlens == nullptr) {
    require_in_range(field, tokens, 0, most_rows, named ? ", config.execution.max_batch_tokens" : why);
  } else {
    require_in_range(field, tokens, 0, most_tokens, ", config.execution.max_batch_tokens");
    require_in_range({"args.batch.cu_seqlens", "shape", 0}, batch.cu_seqlens.shape[0], 1, most_rows + 1, why);
    rows = batch.cu_seqlens.shape[0] - 1;
  }
  if (named)
    require_equal({"args.batch.row_to_sequence", "shape", 0}, batch.row_to_sequence.shape[0], rows,
                  ", the number of rows");
  step.rows = static_cast<int32_t>(rows);
  step.tokens = tokens;
}

/// Checks a tensor that the operation requires.
TensorView required_tensor(const hashevict_tensor& tensor, const TensorSpec& spec) {
  require(present(tensor), "{}.data = NULL: expected a tensor", spec.name);
  return validate_tensor(tensor, spec);
}

/// Checks a tensor that may be absent, or that the operation does not take.
TensorView optional_tensor(const hashevict_tensor* tensor, const TensorSpec& spec) {
  return tensor == nullptr || tensor->data == nullptr ? TensorView{} : validate_tensor(*tensor, spec);
}

/// Whether the operation computes attention: all that take `out` require it, except prefill.
bool attends(const Given& args) {
  return args.out != nullptr && (args.operation != Operation::prefill || args.out->data != nullptr);
}

/// Whether the operation needs queries: for attention, as the rule's probe, or for a selection.
bool needs_queries(const Given& args, const Settings& settings) {
  if (attends(args)) return true;
  if (args.operation == Operation::prefill && args.mode == HASHEVICT_PREFILL_WINDOW) return true;
  return settings.layer(args.layer).rule.facts.needs_queries;
}

void check_tensors(const Given& args, const Settings& settings, Step& step) {
  const int64_t tokens = step.tokens;
  const int64_t qo_heads = settings.shape.num_qo_heads;
  const int64_t kv_heads = settings.shape.num_kv_heads;
  const int64_t dim = settings.shape.head_dim;
  const TensorSpec q{"args.q", true, {}, {tokens, qo_heads, dim}, false};
  step.q = needs_queries(args, settings) ? required_tensor(*args.q, q) : optional_tensor(args.q, q);
  const std::array<int64_t, 3> of_keys{tokens, kv_heads, dim};
  if (args.k != nullptr) step.k = required_tensor(*args.k, {"args.k", true, {}, of_keys, false});
  if (args.v != nullptr) step.v = required_tensor(*args.v, {"args.v", true, {}, of_keys, false});
  if (attends(args)) {
    step.out = required_tensor(*args.out, {"args.out", true, {}, {tokens, qo_heads, dim}, true});
  }
  step.lse = optional_tensor(args.lse, {"args.lse", false, DType::float32, {tokens, qo_heads, kNoDim}, true});
  const std::array<int64_t, 3> per_head{tokens, kv_heads, kNoDim};
  step.slots = optional_tensor(args.slots, {"args.slots", false, DType::int32, per_head, true});
  step.victims = optional_tensor(args.victims, {"args.victims", false, DType::int32, per_head, true});
}

/// One tensor of importances: present if and only if the rule takes it.
TensorView importance_tensor(const hashevict_tensor& tensor, const char* name, bool wanted, const char* why,
                             const Settings& settings, const Step& step) {
  if (!wanted) {
    require(tensor.data == nullptr, "{}.data = {}: expected NULL, since {}{}", name, tensor.data,
            rule_name(settings, step.layer), why);
    return {};
  }
  require(present(tensor), "{}.data = NULL: expected a tensor, since {}{}", name, rule_name(settings, step.layer), why);
  return validate_tensor(tensor,
                         {name, false, DType::float32, {step.tokens, settings.shape.num_kv_heads, kNoDim}, false});
}

void check_importance(const Given& args, const Settings& settings, Step& step) {
  if (args.importance == nullptr) return;
  const RuleSettings& rule = settings.layer(step.layer).rule;
  const bool needed = rule.facts.needs_importance;
  const char* const other_policy = ".policy is not IMPORTANCE";
  step.importance = importance_tensor(*args.importance, "args.importance", rule.takes_importances(),
                                      !needed            ? other_policy
                                      : rule.weighs_keys ? ".importance_source is KEY"
                                                         : ".importance_source is GIVEN",
                                      settings, step);
  step.importance_slope = importance_tensor(*args.importance_slope, "args.importance_slope", rule.importance_slopes,
                                            !needed                  ? other_policy
                                            : rule.importance_slopes ? ".importance_slopes is set"
                                                                     : ".importance_slopes is 0",
                                            settings, step);
}

void check_softmax(const hashevict_softmax& softmax, const Settings& settings, Step& step) {
  require_zero_or_positive({"args.softmax", "scale"}, softmax.scale, "1 / sqrt(head_dim)");
  require_zero_or_positive({"args.softmax", "logit_soft_cap"}, softmax.logit_soft_cap, "none");
  step.logit_soft_cap = softmax.logit_soft_cap;
  step.softmax_scale = softmax.scale > 0.0F
                           ? softmax.scale
                           : static_cast<float>(1.0 / std::sqrt(static_cast<double>(settings.shape.head_dim)));
}

void check_mode(const Given& args, Step& step) {
  constexpr int32_t kDefaultWindow = 32;
  require_one_of({"args", "mode"}, args.mode,
                 {{"REPLAY", HASHEVICT_PREFILL_REPLAY},
                  {"WINDOW", HASHEVICT_PREFILL_WINDOW},
                  {"RECENT", HASHEVICT_PREFILL_RECENT}});
  require_zero_or_in_range({"args", "window"}, args.window, 1, INT32_MAX);
  step.prefill_mode = static_cast<hashevict_prefill_mode>(args.mode);
  step.prefill_window = args.window > 0 ? args.window : kDefaultWindow;
}

/// The attention of a prompt: the keys that it sees, and whether the rule and the mode leave that choice.
void check_prompt_attention(const Given& args, const Settings& settings, Step& step) {
  require_one_of({"args", "attention"}, args.attention,
                 {{"STREAMED", HASHEVICT_PREFILL_STREAMED}, {"FULL", HASHEVICT_PREFILL_FULL}});
  step.prefill_attention = static_cast<hashevict_prefill_attention>(args.attention);
  if (!present(*args.out)) {
    require(args.lse->data == nullptr, "args.lse.data = {}: expected NULL, since args.out.data is NULL",
            args.lse->data);
  }
  if (!attends(args) || args.attention != HASHEVICT_PREFILL_STREAMED) return;
  const RuleSettings& rule = settings.layer(step.layer).rule;
  constexpr const char* kExpected = "args.attention = 0 (STREAMED): expected 1 (FULL), since";
  require(args.mode == HASHEVICT_PREFILL_REPLAY, "{} args.mode is {}", kExpected,
          args.mode == HASHEVICT_PREFILL_WINDOW ? "WINDOW" : "RECENT");
  require(!rule.pin_prompt, "{} {}.pin_prompt is set", kExpected, rule_name(settings, step.layer));
  require(rule.centering != HASHEVICT_CENTERING_PROMPT, "{} {}.centering is PROMPT", kExpected,
          rule_name(settings, step.layer));
}

void check_attend_queries(const Given& args, Step& step) {
  require_one_of({"args", "queries"}, args.queries,
                 {{"LAST", HASHEVICT_QUERIES_LAST}, {"AFTER", HASHEVICT_QUERIES_AFTER}});
  step.attend_queries = static_cast<hashevict_attend_queries>(args.queries);
}

/// Whether attention may overwrite its queries: both tensors are the same.
bool is_in_place(const hashevict_tensor& q, const hashevict_tensor& out) {
  bool same = q.data == out.data && q.dtype == out.dtype;
  for (std::size_t i = 0; i < 3; ++i) same = same && (q.shape[i] <= 1 || q.stride[i] == out.stride[i]);
  return same;
}

/// Applies the aliasing rule to the tensors that the operation reads and writes.
void check_aliasing(const Given& args, const Step& step, const OwnMemory& own) {
  const auto of = [](bool used, const char* name, const hashevict_tensor* tensor) {
    return used ? footprint_of(name, *tensor) : Footprint{};
  };
  const std::array written{of(static_cast<bool>(step.out), "args.out", args.out),
                           of(static_cast<bool>(step.lse), "args.lse", args.lse),
                           of(static_cast<bool>(step.slots), "args.slots", args.slots),
                           of(static_cast<bool>(step.victims), "args.victims", args.victims)};
  const std::array read{of(static_cast<bool>(step.q), "args.q", args.q),
                        of(static_cast<bool>(step.k), "args.k", args.k),
                        of(static_cast<bool>(step.v), "args.v", args.v),
                        of(static_cast<bool>(step.importance), "args.importance", args.importance),
                        of(static_cast<bool>(step.importance_slope), "args.importance_slope", args.importance_slope),
                        of(step.row_to_sequence != nullptr, "args.batch.row_to_sequence", &args.batch->row_to_sequence),
                        of(step.cu_seqlens != nullptr, "args.batch.cu_seqlens", &args.batch->cu_seqlens)};
  const bool in_place = step.out && step.q && is_in_place(*args.q, *args.out);
  validate_aliasing(own, written, read, args.changes_state, in_place ? read.data() : nullptr);
}

Step validate(const Given& args, const Settings& settings, const OwnMemory& own) {
  require_in_range({"args", "layer"}, args.layer, 0, settings.shape.num_layers - 1);
  const bool attends_alone = args.k == nullptr;
  const hashevict_tensor& leading = attends_alone ? *args.q : *args.k;
  const char* const name = attends_alone ? "args.q" : "args.k";
  require(present(leading), "{}.data = NULL: expected a tensor", name);
  require_equal({name, "rank"}, leading.rank, 3);
  Step step;
  step.layer = args.layer;
  check_batch(*args.batch, settings, name, leading.shape[0], step);
  if (args.softmax != nullptr) check_softmax(*args.softmax, settings, step);
  if (args.operation == Operation::prefill) {
    check_mode(args, step);
    check_prompt_attention(args, settings, step);
  }
  if (args.operation == Operation::attend) check_attend_queries(args, step);
  check_tensors(args, settings, step);
  check_importance(args, settings, step);
  check_aliasing(args, step, own);
  return step;
}

}  // namespace

Step validate_args(const hashevict_prefill_args* args, const Settings& settings, const OwnMemory& own) {
  const hashevict_prefill_args a = read_versioned(args, "args");
  return validate(given(a), settings, own);
}

Step validate_args(const hashevict_evict_args* args, const Settings& settings, const OwnMemory& own) {
  const hashevict_evict_args a = read_versioned(args, "args");
  return validate(given(a), settings, own);
}

Step validate_args(const hashevict_append_args* args, const Settings& settings, const OwnMemory& own) {
  const hashevict_append_args a = read_versioned(args, "args");
  return validate(given(a), settings, own);
}

Step validate_args(const hashevict_attend_args* args, const Settings& settings, const OwnMemory& own) {
  const hashevict_attend_args a = read_versioned(args, "args");
  return validate(given(a), settings, own);
}

Step validate_args(const hashevict_decode_args* args, const Settings& settings, const OwnMemory& own) {
  const hashevict_decode_args a = read_versioned(args, "args");
  return validate(given(a), settings, own);
}

}  // namespace hashevict::core
