// SPDX-License-Identifier: Apache-2.0
// Every field of every struct that a caller fills in survives the way from C++ to the C ABI and back. The tables below
// list all fields and must cover each struct's bytes. So a field that is missing here, or in the C++ twin, fails a
// test.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "support.hpp"

namespace hashevict::test {
namespace {

/// A field of a C struct and of its twin: its place in C, and a value different from its default.
template <class Cpp, class C>
struct FieldOf {
  const char* name;
  size_t offset, size;
  std::function<void(Cpp&)> change;
  std::function<bool(const C&)> has_arrived;
};

template <class Cpp, class C>
using Fields = std::vector<FieldOf<Cpp, C>>;

template <class A, class B>
bool same_bytes(const A& a, const B& b) {
  return sizeof a == sizeof b && std::memcmp(&a, &b, sizeof a) == 0;
}

/// `field` with a value whose bytes are the same in C++ and in C.
#define HASHEVICT_FIELD(Cpp, C, field, ...)                                                                      \
  FieldOf<Cpp, C> {                                                                                              \
#field, offsetof(C, field), sizeof(C::field), [](Cpp& cpp) { cpp.field = __VA_ARGS__; }, [](const C& c) {      \
      Cpp changed;                                                                                                 \
      changed.field = __VA_ARGS__;                                                                                 \
      return same_bytes(c.field, changed.field);                                                                   \
    } \
  }

std::vector<std::byte> bytes_of_struct(const auto& c) {
  return bytes_of(&c, sizeof c);
}

/// Bytes of a C struct outside the listed fields: 8 of struct_size, reserved words, padding.
struct Span {
  size_t offset, size;
};

template <class Cpp, class C>
void expect_every_byte_listed(const Fields<Cpp, C>& fields, const std::vector<Span>& others) {
  std::vector<int> owners(sizeof(C), 0);
  const auto own = [&](size_t offset, size_t size) {
    for (size_t i = offset; i < offset + size; ++i) ++owners[i];
  };
  own(0, sizeof(size_t));  // struct_size
  for (const auto& field : fields) own(field.offset, field.size);
  for (const Span& span : others) own(span.offset, span.size);
  for (size_t i = 0; i < owners.size(); ++i) EXPECT_EQ(owners[i], 1) << "byte " << i << " of " << owners.size();
}

/// Changes one field at a time and expects that its bytes in C change, and no others.
template <class Cpp, class C>
void expect_fields_arrive(const Fields<Cpp, C>& fields, const std::function<C(const Cpp&)>& to_c) {
  const Cpp defaults;
  const std::vector<std::byte> before = bytes_of_struct(to_c(defaults));
  for (const auto& field : fields) {
    SCOPED_TRACE(field.name);
    Cpp cpp;
    field.change(cpp);
    const C c = to_c(cpp);
    EXPECT_TRUE(field.has_arrived(c));
    const std::vector<std::byte> after = bytes_of_struct(c);
    EXPECT_NE(after, before);
    for (size_t i = 0; i < after.size(); ++i) {
      if (i < field.offset || i >= field.offset + field.size) {
        EXPECT_EQ(after[i], before[i]) << "byte " << i;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- config

void run_serially(void* /*context*/, int64_t num_tasks, void (*task)(void*, int64_t), void* argument) {
  for (int64_t i = 0; i < num_tasks; ++i) task(argument, i);
}

#define HASHEVICT_CONFIG_FIELD(field, ...) HASHEVICT_FIELD(Config, hashevict_config, field, __VA_ARGS__)

int g_context = 0;

Rule rule_of_layer(int32_t hash_bits) {
  Rule rule{Preset::superseded};
  rule.hash_bits = hash_bits;
  return rule;
}

const Fields<Config, hashevict_config> kConfigFields{
    HASHEVICT_CONFIG_FIELD(shape.num_layers, 3),
    HASHEVICT_CONFIG_FIELD(shape.num_sequences, 5),
    HASHEVICT_CONFIG_FIELD(shape.num_qo_heads, 8),
    HASHEVICT_CONFIG_FIELD(shape.num_kv_heads, 2),
    HASHEVICT_CONFIG_FIELD(shape.head_dim, 24),
    HASHEVICT_CONFIG_FIELD(shape.dtype, DType::float16),
    HASHEVICT_CONFIG_FIELD(shape.kv_head_offset, 7),
    HASHEVICT_CONFIG_FIELD(shape.capacity, 40),
    HASHEVICT_CONFIG_FIELD(rule.policy, Policy::superseded),
    HASHEVICT_CONFIG_FIELD(rule.hash_bits, 64),
    HASHEVICT_CONFIG_FIELD(rule.hash_source, HashSource::key),
    HASHEVICT_CONFIG_FIELD(rule.tie, Tie::lowest_slot),
    HASHEVICT_CONFIG_FIELD(rule.num_sink_tokens, 1),
    HASHEVICT_CONFIG_FIELD(rule.recent_window, 6),
    HASHEVICT_CONFIG_FIELD(rule.sink_fraction, 0.125F),
    HASHEVICT_CONFIG_FIELD(rule.recent_fraction, 0.25F),
    HASHEVICT_CONFIG_FIELD(rule.pin_prompt, 1),
    HASHEVICT_CONFIG_FIELD(rule.centering, Centering::fixed),
    HASHEVICT_CONFIG_FIELD(rule.projection_kind, ProjectionKind::orthogonal),
    HASHEVICT_CONFIG_FIELD(rule.projection_per_head, 1),
    HASHEVICT_CONFIG_FIELD(rule.seed, UINT64_C(0x123456789ABCDEF0)),
    HASHEVICT_CONFIG_FIELD(rule.importance_source, ImportanceSource::key),
    HASHEVICT_CONFIG_FIELD(rule.importance_slopes, 1),
    HASHEVICT_CONFIG_FIELD(placement.backend, Backend::cpu),
    HASHEVICT_CONFIG_FIELD(placement.device, 1),
    HASHEVICT_CONFIG_FIELD(placement.layout, Layout::slot_major),
    HASHEVICT_CONFIG_FIELD(placement.page_size, 32),
    HASHEVICT_CONFIG_FIELD(execution.max_batch_tokens, INT64_C(99)),
    HASHEVICT_CONFIG_FIELD(execution.parallel_for, run_serially),
    HASHEVICT_CONFIG_FIELD(execution.parallel_for_context, &g_context),
    HASHEVICT_CONFIG_FIELD(execution.num_threads, 2),
};

/// The arrays: a pointer in C, a vector in C++.
const std::vector<Span> kConfigArrays{
    {offsetof(hashevict_config, shape.capacities), sizeof(hashevict_config::shape.capacities)},
    {offsetof(hashevict_config, layer_rules), sizeof(hashevict_config::layer_rules)},
};

const std::vector<Span> kConfigReserved{
    {offsetof(hashevict_config, shape.reserved), sizeof(hashevict_config::shape.reserved)},
    {offsetof(hashevict_config, rule.reserved), sizeof(hashevict_config::rule.reserved)},
    {offsetof(hashevict_config, placement.reserved), sizeof(hashevict_config::placement.reserved)},
    {offsetof(hashevict_config, execution.reserved), sizeof(hashevict_config::execution.reserved)},
};

hashevict_config without_arrays(const Config& config) {
  std::vector<hashevict_rule> rules;
  hashevict_config c = config.c_config(rules);
  c.shape.capacities = nullptr;
  c.layer_rules = nullptr;
  return c;
}

TEST(RoundTrip, EveryByteOfAConfigIsListed) {
  std::vector<Span> others = kConfigArrays;
  others.insert(others.end(), kConfigReserved.begin(), kConfigReserved.end());
  expect_every_byte_listed(kConfigFields, others);
}

TEST(RoundTrip, EveryFieldOfAConfigArrivesInC) {
  expect_fields_arrive<Config, hashevict_config>(kConfigFields, without_arrays);
}

/// A config whose every field differs from its default.
Config unusual_config() {
  Config config;
  for (const auto& field : kConfigFields) field.change(config);
  config.shape.capacities = capacities_of_layers({30, 50, 41}, config.shape.num_kv_heads);
  config.layer_rules = {rule_of_layer(8), config.rule, rule_of_layer(128)};
  return config;
}

void expect_same(const Config& a, const Config& b) {
  EXPECT_EQ(bytes_of_struct(without_arrays(a)), bytes_of_struct(without_arrays(b)));
  EXPECT_EQ(a.shape.capacities, b.shape.capacities);
  ASSERT_EQ(a.layer_rules.size(), b.layer_rules.size());
  for (size_t i = 0; i < a.layer_rules.size(); ++i) {
    EXPECT_EQ(bytes_of_struct(a.layer_rules[i].c_rule()), bytes_of_struct(b.layer_rules[i].c_rule())) << i;
  }
}

TEST(RoundTrip, OfAConfigThroughCLosesNothing) {
  const Config config = unusual_config();
  std::vector<hashevict_rule> rules;
  const hashevict_config c = config.c_config(rules);
  EXPECT_EQ(c.shape.capacities, config.shape.capacities.data());
  EXPECT_EQ(c.layer_rules, rules.data());
  EXPECT_EQ(rules.size(), 3U);
  expect_same(Config{c}, config);
}

TEST(RoundTrip, OfAConfigThroughACacheLosesNothing) {
  const Config config = unusual_config();
  const Cache cache{config};
  expect_same(cache.config(), config);
}

// ---------------------------------------------------------------------------------------------------------- arguments

const Tensor& marked(int64_t mark) {
  static const float number = 0;
  static Tensor tensor;
  tensor = Tensor{&number, {mark, mark + 1}};
  return tensor;
}

/// The four bytes between `layer` and the tensors, and those behind a number at the end.
template <class C>
std::vector<Span> padding() {
  std::vector<Span> spans{{offsetof(C, layer) + sizeof(int32_t), sizeof(int32_t)}};
  if constexpr (requires(C c) { c.attention; }) spans.push_back({offsetof(C, attention) + sizeof(int32_t), 4});
  if constexpr (requires(C c) { c.queries; }) spans.push_back({offsetof(C, queries) + sizeof(int32_t), 4});
  return spans;
}

template <class Cpp, class C>
void expect_arguments_arrive(const Fields<Cpp, C>& fields) {
  expect_every_byte_listed(fields, padding<C>());
  expect_fields_arrive<Cpp, C>(fields, [](const Cpp& cpp) {
    C c = cpp.c_args();
    EXPECT_EQ(c.struct_size, sizeof c);
    for (const Span& span : padding<C>()) std::memset(reinterpret_cast<std::byte*>(&c) + span.offset, 0, span.size);
    return c;
  });
}

TEST(RoundTrip, EveryFieldOfPrefillsArgumentsArrivesInC) {
#define HASHEVICT_ARGS_FIELD(field, ...) HASHEVICT_FIELD(PrefillArgs, hashevict_prefill_args, field, __VA_ARGS__)
  expect_arguments_arrive<PrefillArgs, hashevict_prefill_args>({
      HASHEVICT_ARGS_FIELD(layer, 3),
      HASHEVICT_ARGS_FIELD(batch.row_to_sequence, marked(1)),
      HASHEVICT_ARGS_FIELD(batch.cu_seqlens, marked(2)),
      HASHEVICT_ARGS_FIELD(q, marked(3)),
      HASHEVICT_ARGS_FIELD(k, marked(4)),
      HASHEVICT_ARGS_FIELD(v, marked(5)),
      HASHEVICT_ARGS_FIELD(slots, marked(6)),
      HASHEVICT_ARGS_FIELD(victims, marked(7)),
      HASHEVICT_ARGS_FIELD(mode, PrefillMode::recent),
      HASHEVICT_ARGS_FIELD(window, 8),
      HASHEVICT_ARGS_FIELD(importance, marked(11)),
      HASHEVICT_ARGS_FIELD(importance_slope, marked(12)),
      HASHEVICT_ARGS_FIELD(out, marked(13)),
      HASHEVICT_ARGS_FIELD(lse, marked(14)),
      HASHEVICT_ARGS_FIELD(softmax.scale, 0.5F),
      HASHEVICT_ARGS_FIELD(softmax.logit_soft_cap, 30.0F),
      HASHEVICT_ARGS_FIELD(attention, PrefillAttention::full),
  });
#undef HASHEVICT_ARGS_FIELD
}

TEST(RoundTrip, EveryFieldOfEvictsArgumentsArrivesInC) {
#define HASHEVICT_ARGS_FIELD(field, ...) HASHEVICT_FIELD(EvictArgs, hashevict_evict_args, field, __VA_ARGS__)
  expect_arguments_arrive<EvictArgs, hashevict_evict_args>({
      HASHEVICT_ARGS_FIELD(layer, 3),
      HASHEVICT_ARGS_FIELD(batch.row_to_sequence, marked(1)),
      HASHEVICT_ARGS_FIELD(batch.cu_seqlens, marked(2)),
      HASHEVICT_ARGS_FIELD(q, marked(3)),
      HASHEVICT_ARGS_FIELD(k, marked(4)),
      HASHEVICT_ARGS_FIELD(slots, marked(6)),
      HASHEVICT_ARGS_FIELD(victims, marked(7)),
      HASHEVICT_ARGS_FIELD(importance, marked(11)),
      HASHEVICT_ARGS_FIELD(importance_slope, marked(12)),
  });
#undef HASHEVICT_ARGS_FIELD
}

TEST(RoundTrip, EveryFieldOfAppendsArgumentsArrivesInC) {
#define HASHEVICT_ARGS_FIELD(field, ...) HASHEVICT_FIELD(AppendArgs, hashevict_append_args, field, __VA_ARGS__)
  expect_arguments_arrive<AppendArgs, hashevict_append_args>({
      HASHEVICT_ARGS_FIELD(layer, 3),
      HASHEVICT_ARGS_FIELD(batch.row_to_sequence, marked(1)),
      HASHEVICT_ARGS_FIELD(batch.cu_seqlens, marked(2)),
      HASHEVICT_ARGS_FIELD(q, marked(3)),
      HASHEVICT_ARGS_FIELD(k, marked(4)),
      HASHEVICT_ARGS_FIELD(v, marked(5)),
      HASHEVICT_ARGS_FIELD(slots, marked(6)),
      HASHEVICT_ARGS_FIELD(victims, marked(7)),
      HASHEVICT_ARGS_FIELD(importance, marked(11)),
      HASHEVICT_ARGS_FIELD(importance_slope, marked(12)),
  });
#undef HASHEVICT_ARGS_FIELD
}

TEST(RoundTrip, EveryFieldOfAttendsArgumentsArrivesInC) {
#define HASHEVICT_ARGS_FIELD(field, ...) HASHEVICT_FIELD(AttendArgs, hashevict_attend_args, field, __VA_ARGS__)
  expect_arguments_arrive<AttendArgs, hashevict_attend_args>({
      HASHEVICT_ARGS_FIELD(layer, 3),
      HASHEVICT_ARGS_FIELD(batch.row_to_sequence, marked(1)),
      HASHEVICT_ARGS_FIELD(batch.cu_seqlens, marked(2)),
      HASHEVICT_ARGS_FIELD(q, marked(3)),
      HASHEVICT_ARGS_FIELD(out, marked(4)),
      HASHEVICT_ARGS_FIELD(lse, marked(5)),
      HASHEVICT_ARGS_FIELD(softmax.scale, 0.5F),
      HASHEVICT_ARGS_FIELD(softmax.logit_soft_cap, 30.0F),
      HASHEVICT_ARGS_FIELD(queries, AttendQueries::after),
  });
#undef HASHEVICT_ARGS_FIELD
}

TEST(RoundTrip, EveryFieldOfDecodesArgumentsArrivesInC) {
#define HASHEVICT_ARGS_FIELD(field, ...) HASHEVICT_FIELD(DecodeArgs, hashevict_decode_args, field, __VA_ARGS__)
  expect_arguments_arrive<DecodeArgs, hashevict_decode_args>({
      HASHEVICT_ARGS_FIELD(layer, 3),
      HASHEVICT_ARGS_FIELD(batch.row_to_sequence, marked(1)),
      HASHEVICT_ARGS_FIELD(batch.cu_seqlens, marked(2)),
      HASHEVICT_ARGS_FIELD(q, marked(3)),
      HASHEVICT_ARGS_FIELD(k, marked(4)),
      HASHEVICT_ARGS_FIELD(v, marked(5)),
      HASHEVICT_ARGS_FIELD(out, marked(6)),
      HASHEVICT_ARGS_FIELD(lse, marked(7)),
      HASHEVICT_ARGS_FIELD(slots, marked(8)),
      HASHEVICT_ARGS_FIELD(victims, marked(9)),
      HASHEVICT_ARGS_FIELD(softmax.scale, 0.5F),
      HASHEVICT_ARGS_FIELD(softmax.logit_soft_cap, 30.0F),
      HASHEVICT_ARGS_FIELD(importance, marked(11)),
      HASHEVICT_ARGS_FIELD(importance_slope, marked(12)),
  });
#undef HASHEVICT_ARGS_FIELD
}

// -------------------------------------------------------------------------------------------------------------- memory

#define HASHEVICT_MEMORY_FIELD(field, ...) HASHEVICT_FIELD(Memory, hashevict_memory, field, __VA_ARGS__)

const int32_t kTable = 0;

const Fields<Memory, hashevict_memory> kMemoryFields{
    HASHEVICT_MEMORY_FIELD(head_stride, 102),        HASHEVICT_MEMORY_FIELD(slot_stride, 103),
    HASHEVICT_MEMORY_FIELD(page_stride, 104),        HASHEVICT_MEMORY_FIELD(block_table, &kTable),
    HASHEVICT_MEMORY_FIELD(block_table_stride, 105), HASHEVICT_MEMORY_FIELD(block_table_offsets, &kTable),
    HASHEVICT_MEMORY_FIELD(block_table_length, 106), HASHEVICT_MEMORY_FIELD(num_pages, 107),
    HASHEVICT_MEMORY_FIELD(state, &g_context),       HASHEVICT_MEMORY_FIELD(state_bytes, 108U),
    HASHEVICT_MEMORY_FIELD(workspace, &g_context),   HASHEVICT_MEMORY_FIELD(workspace_bytes, 109U),
};

TEST(RoundTrip, EveryFieldOfMemoryArrivesInC) {
  expect_every_byte_listed(kMemoryFields, {{offsetof(hashevict_memory, keys), sizeof(void*)},
                                           {offsetof(hashevict_memory, values), sizeof(void*)},
                                           {offsetof(hashevict_memory, head_offsets), sizeof(void*)},
                                           {offsetof(hashevict_memory, sequence_strides), sizeof(void*)}});
  expect_fields_arrive<Memory, hashevict_memory>(kMemoryFields,
                                                 [](const Memory& memory) { return memory.c_memory(2, 2); });
}

TEST(RoundTrip, ArraysOfMemoryArriveInC) {
  Memory memory;
  memory.keys = {&g_context, nullptr};
  memory.values = {nullptr, &g_context};
  memory.head_offsets = {0, 64, 0, 128};
  memory.sequence_strides = {256, 512};
  const hashevict_memory c = memory.c_memory(2, 2);
  EXPECT_EQ(c.keys, memory.keys.data());
  EXPECT_EQ(c.values, memory.values.data());
  EXPECT_EQ(c.head_offsets, memory.head_offsets.data());
  EXPECT_EQ(c.sequence_strides, memory.sequence_strides.data());
  EXPECT_EQ(c.struct_size, sizeof c);
}

// ---------------------------------------------------------------------------------------------------------------- view

TEST(RoundTrip, EveryTensorOfAViewArrivesInCpp) {
  hashevict_view c;
  hashevict_view_init(&c);
  int64_t mark = 0;
  for (hashevict_tensor* const tensor : {&c.keys, &c.values, &c.codes, &c.positions, &c.lengths, &c.tokens_seen}) {
    *tensor = marked(++mark);
  }
  const View view{c};
  mark = 0;
  for (const Tensor* const tensor :
       {&view.keys, &view.values, &view.codes, &view.positions, &view.lengths, &view.tokens_seen}) {
    EXPECT_EQ(tensor->shape[0], ++mark);
  }
  static_assert(sizeof c == sizeof c.struct_size + 6 * sizeof(hashevict_tensor), "list the new field here");
}

}  // namespace
}  // namespace hashevict::test
