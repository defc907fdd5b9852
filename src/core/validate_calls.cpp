// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/bounds.hpp"
#include "core/failure.hpp"
#include "core/validate.hpp"

/// Validators of the calls that take no batch.
namespace hashevict::core {
namespace {

/// The bytes of a buffer that a call uses: at most those of the largest state, even if the caller's buffer is larger.
Footprint buffer_footprint(const void* buffer, uint64_t bytes, uint64_t most) {
  return {{"", "buffer"}, buffer, static_cast<int64_t>(std::min(bytes, most))};
}

}  // namespace

void validate_layer(const Settings& settings, int32_t layer, int32_t lowest) {
  require_in_range({"", "layer"}, layer, lowest, settings.shape.num_layers - 1);
}

void validate_kv_head(const Settings& settings, int32_t kv_head, int32_t lowest) {
  require_in_range({"", "kv_head"}, kv_head, lowest, settings.shape.num_kv_heads - 1);
}

void validate_sequence(const Settings& settings, int32_t sequence, const char* name, int32_t lowest) {
  require_in_range({"", name}, sequence, lowest, settings.shape.num_sequences - 1);
}

void validate_pointer(const void* pointer, const char* name) {
  require(pointer != nullptr, "{} = NULL: expected a pointer", name);
}

EncodeArguments validate_encode(const Settings& settings, const OwnMemory& own, int32_t layer, int32_t sequence,
                                int32_t as, const hashevict_tensor* x, const hashevict_tensor* codes) {
  validate_layer(settings, layer);
  validate_sequence(settings, sequence, "sequence");
  require_one_of({"", "as"}, as, {{"KEYS", HASHEVICT_ENCODE_KEYS}, {"QUERIES", HASHEVICT_ENCODE_QUERIES}});
  require(x != nullptr && present(*x), "x = NULL: expected a tensor");
  require(codes != nullptr && present(*codes), "codes = NULL: expected a tensor");
  require_equal({"x", "rank"}, x->rank, 3);
  const bool queries = as == HASHEVICT_ENCODE_QUERIES;
  const int64_t heads = queries ? settings.shape.num_qo_heads : settings.shape.num_kv_heads;
  const int64_t tokens = x->shape[0];
  require_in_range({"x", "shape", 0}, tokens, 0, INT32_MAX / heads, ", since vectors are counted in 32 bits");
  const EncodeArguments arguments{
      .layer = layer,
      .sequence = sequence,
      .queries = queries,
      .tokens = tokens,
      .x = validate_tensor(*x, {"x", true, {}, {tokens, heads, settings.shape.head_dim}, false}),
      .codes = validate_tensor(
          *codes, {"codes", false, DType::uint8, {tokens, heads, settings.layer(layer).rule.code_bytes}, true})};
  validate_aliasing(own, {{footprint_of("codes", *codes)}}, {{footprint_of("x", *x)}}, false);
  return arguments;
}

void validate_fork(const Settings& settings, int32_t source, int32_t target) {
  validate_sequence(settings, source, "source");
  validate_sequence(settings, target, "target");
  require(source != target, "target = {}: expected a sequence other than the source", target);
}

void validate_save(const Settings& settings, const OwnMemory& own, int32_t sequence, const void* buffer,
                   uint64_t buffer_bytes, uint64_t most_bytes, const uint64_t* written) {
  validate_sequence(settings, sequence, "sequence");
  validate_pointer(buffer, "buffer");
  validate_pointer(written, "written");
  validate_aliasing(
      own, {{buffer_footprint(buffer, buffer_bytes, most_bytes), Footprint{{"", "written"}, written, sizeof *written}}},
      {}, false);
}

void validate_load(const Settings& settings, const OwnMemory& own, int32_t sequence, const void* buffer,
                   uint64_t buffer_bytes, uint64_t most_bytes) {
  validate_sequence(settings, sequence, "sequence");
  validate_pointer(buffer, "buffer");
  validate_aliasing(own, {}, {{buffer_footprint(buffer, buffer_bytes, most_bytes)}}, true);
}

}  // namespace hashevict::core
