// SPDX-License-Identifier: Apache-2.0
#include "support.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

namespace hashevict::test {
namespace {

constexpr std::byte kGuard{0xA7};
constexpr size_t kGuardBytes = 1024;

}  // namespace

Outcome outcome_of(const std::function<hashevict_status(hashevict_error*)>& call) {
  // Bytes behind the buffer show whether a message is cut at its end.
  struct {
    hashevict_error error;
    std::array<char, 64> behind;
  } buffer;
  std::memset(&buffer, 'x', sizeof buffer);
  const hashevict_status status = call(&buffer.error);
  EXPECT_THAT(buffer.behind, ::testing::Each('x')) << "the message left its buffer";
  const char* const message = buffer.error.message;
  const void* const end = std::memchr(message, '\0', HASHEVICT_MESSAGE_BYTES);
  if (status == HASHEVICT_OK) {
    EXPECT_EQ(end, nullptr) << "a call that succeeded wrote a message";
    return {};
  }
  EXPECT_NE(end, nullptr) << "the message is not terminated";
  if (end == nullptr) return {status, {}};
  const std::string text{message};
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  return {status, text};
}

void expect_refused(const Outcome& outcome, const Refusal& refusal) {
  EXPECT_STREQ(hashevict_status_name(outcome.status), hashevict_status_name(refusal.status)) << outcome.message;
  for (const std::string& part : refusal.message) EXPECT_THAT(outcome.message, ::testing::HasSubstr(part));
}

Config small_config() {
  Config config;
  config.placement.backend = Backend::cpu;
  config.shape.num_layers = 2;
  config.shape.num_sequences = 3;
  config.shape.num_qo_heads = 4;
  config.shape.num_kv_heads = 2;
  config.shape.head_dim = 16;
  config.shape.dtype = DType::float32;
  config.shape.capacity = 20;
  config.execution.max_batch_tokens = 64;
  config.execution.num_threads = 1;
  return config;
}

hashevict_config small_c_config() {
  return c_config_of(small_config());
}

hashevict_config c_config_of(const Config& config) {
  EXPECT_TRUE(config.layer_rules.empty());
  std::vector<hashevict_rule> none;
  return config.c_config(none);
}

std::vector<float> normal_numbers(size_t count, uint64_t seed) {
  std::mt19937_64 generator{seed};
  std::normal_distribution<float> normal;
  std::vector<float> numbers(count);
  std::generate(numbers.begin(), numbers.end(), [&] { return normal(generator); });
  return numbers;
}

std::vector<std::byte> bytes_of(const void* data, size_t size) {
  const auto* const first = static_cast<const std::byte*>(data);
  return {first, first + size};
}

StepData::StepData(const Config& config, int64_t num_tokens, uint64_t seed, int32_t layer) {
  const int64_t qo_heads = config.shape.num_qo_heads;
  const int64_t kv_heads = config.shape.num_kv_heads;
  const int64_t dim = config.shape.head_dim;
  q = normal_numbers(static_cast<size_t>(num_tokens * qo_heads * dim), 3 * seed);
  k = normal_numbers(static_cast<size_t>(num_tokens * kv_heads * dim), 3 * seed + 1);
  v = normal_numbers(static_cast<size_t>(num_tokens * kv_heads * dim), 3 * seed + 2);
  out.assign(q.size(), kPoison);
  lse.assign(static_cast<size_t>(num_tokens * qo_heads), kPoison);
  slots.assign(static_cast<size_t>(num_tokens * kv_heads), kIndexPoison);
  victims = slots;
  args.q = Tensor{q.data(), {num_tokens, qo_heads, dim}};
  args.k = Tensor{k.data(), {num_tokens, kv_heads, dim}};
  args.v = Tensor{v.data(), {num_tokens, kv_heads, dim}};
  args.out = Tensor{out.data(), {num_tokens, qo_heads, dim}};
  args.lse = Tensor{lse.data(), {num_tokens, qo_heads}};
  args.slots = Tensor{slots.data(), {num_tokens, kv_heads}};
  args.victims = Tensor{victims.data(), {num_tokens, kv_heads}};
  importance = normal_numbers(slots.size(), 5 * seed);
  importance_slope = normal_numbers(slots.size(), 5 * seed + 1);
  const Rule& rule = config.layer_rules.empty() ? config.rule : config.layer_rules[static_cast<size_t>(layer)];
  if (rule.policy != Policy::importance) return;
  if (rule.importance_source == ImportanceSource::given) {
    args.importance = Tensor{importance.data(), {num_tokens, kv_heads}};
  }
  if (rule.importance_slopes != 0) {
    args.importance_slope = Tensor{importance_slope.data(), {num_tokens, kv_heads}};
  }
}

void StepData::set_rows(const std::vector<int32_t>& tokens_per_row) {
  cu_seqlens.assign(1, 0);
  for (const int32_t tokens : tokens_per_row) cu_seqlens.push_back(cu_seqlens.back() + tokens);
  args.batch.cu_seqlens = Tensor{cu_seqlens.data(), {static_cast<int64_t>(cu_seqlens.size())}};
}

void StepData::set_sequences(const std::vector<int32_t>& sequences) {
  row_to_sequence = sequences;
  args.batch.row_to_sequence = Tensor{row_to_sequence.data(), {static_cast<int64_t>(row_to_sequence.size())}};
}

bool StepData::outputs_untouched() const {
  const auto all_are = [](const auto& values, auto poison) {
    return std::all_of(values.begin(), values.end(), [&](auto value) { return value == poison; });
  };
  return all_are(out, kPoison) && all_are(lse, kPoison) && all_are(slots, kIndexPoison) &&
         all_are(victims, kIndexPoison);
}

void learn_projections(Cache& cache, uint64_t seed) {
  const Config config = cache.config();
  const int64_t dim = config.shape.head_dim;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const Rule& rule = config.layer_rules.empty() ? config.rule : config.layer_rules[static_cast<size_t>(layer)];
    if (rule.projection_kind != ProjectionKind::learned) continue;
    const int64_t bits = rule.hash_bits;
    const int64_t heads = rule.projection_per_head != 0 ? config.shape.num_kv_heads : 1;
    const std::vector<float> numbers = normal_numbers(static_cast<size_t>(heads * bits * dim), seed++);
    cache.set_projection(layer, rule.projection_per_head != 0 ? Tensor{numbers.data(), {heads, bits, dim}}
                                                              : Tensor{numbers.data(), {bits, dim}});
  }
}

void set_importance_weights(Cache& cache, uint64_t seed) {
  const Config config = cache.config();
  const int64_t heads = config.shape.num_kv_heads;
  const int64_t dim = config.shape.head_dim;
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    const Rule& rule = config.layer_rules.empty() ? config.rule : config.layer_rules[static_cast<size_t>(layer)];
    if (rule.policy != Policy::importance || rule.importance_source != ImportanceSource::key) continue;
    const std::vector<float> numbers = normal_numbers(static_cast<size_t>(heads * (dim + 1)), seed++);
    cache.set_importance_weights(layer, Tensor{numbers.data(), {heads, dim}},
                                 Tensor{numbers.data() + heads * dim, {heads}});
  }
}

void feed(Cache& cache, int32_t sequence, int64_t tokens, uint64_t seed) {
  const Config config = cache.config();
  for (int64_t token = 0; token < tokens; ++token) {
    for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
      StepData data{config, 1, seed + static_cast<uint64_t>(token * config.shape.num_layers + layer), layer};
      data.set_sequences({sequence});
      data.args.layer = layer;
      cache.decode(data.args, Stream{});
    }
  }
}

std::vector<std::byte> save_all(Cache& cache) {
  std::vector<std::byte> all;
  for (int32_t sequence = 0; sequence < cache.config().shape.num_sequences; ++sequence) {
    const std::vector<std::byte> one = cache.save(sequence, Stream{});
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

Cache used_cache(const Config& config) {
  Cache cache{config};
  feed(cache, 0, config.shape.capacity + 7, 100);
  feed(cache, 1, 9, 200);
  return cache;
}

Config small_paged_config() {
  Config config = small_config();
  config.placement.layout = Layout::paged;
  config.placement.page_size = 8;
  return config;
}

Config small_config_of_head_pages() {
  Config config = small_paged_config();
  config.placement.layout = Layout::paged_per_head;
  config.shape.capacities = {15, 40, 20, 21};  // the least, one that keeps most prompts whole, two that differ by one
  return config;
}

namespace {

/// Pages of each row of the block table.
std::vector<int32_t> pages_of_rows(const Config& config) {
  const auto pages = [&](int32_t slots) {
    return (slots + config.placement.page_size - 1) / config.placement.page_size;
  };
  const Shape& shape = config.shape;
  std::vector<int32_t> rows;
  if (config.placement.layout == Layout::paged) {
    rows.assign(static_cast<size_t>(shape.num_sequences), pages(shape.capacity));
    return rows;
  }
  for (int32_t row = 0; row < shape.num_layers * shape.num_sequences * shape.num_kv_heads; ++row) {
    const int32_t layer = row / (shape.num_sequences * shape.num_kv_heads);
    const auto head = static_cast<size_t>(layer * shape.num_kv_heads + row % shape.num_kv_heads);
    rows.push_back(pages(shape.capacities.empty() ? shape.capacity : shape.capacities[head]));
  }
  return rows;
}

}  // namespace

PagedMemory::PagedMemory(const Config& config) {
  const bool per_head = config.placement.layout == Layout::paged_per_head;
  const std::vector<int32_t> rows = pages_of_rows(config);
  const int32_t num_pages = std::accumulate(rows.begin(), rows.end(), 2);  // two pages belong to no row
  const auto page_elements = static_cast<size_t>(per_head ? 1 : config.shape.num_kv_heads) *
                             static_cast<size_t>(config.placement.page_size) *
                             static_cast<size_t>(config.shape.head_dim);
  for (int32_t layer = 0; layer < config.shape.num_layers; ++layer) {
    if (layer == 0 || !per_head) {
      keys.emplace_back(page_elements * static_cast<size_t>(num_pages), kPoison);
      values.emplace_back(page_elements * static_cast<size_t>(num_pages), kPoison);
    }
    memory.keys.push_back(keys.back().data());
    memory.values.push_back(values.back().data());
  }
  std::vector<int32_t> pages(static_cast<size_t>(num_pages));
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin(), pages.end(), std::mt19937_64{11});
  const int32_t stride = *std::max_element(rows.begin(), rows.end());
  auto next = pages.begin();
  for (const int32_t row : rows) {
    block_table.insert(block_table.end(), next, next + row);
    block_table.insert(block_table.end(), static_cast<size_t>(stride - row), -1);
    next += row;
  }
  memory.block_table = block_table.data();
  memory.block_table_stride = stride;
  memory.num_pages = num_pages;
}

GuardedBuffer::GuardedBuffer(uint64_t count)
    : storage_(static_cast<size_t>(count) + 2 * kGuardBytes + HASHEVICT_ALIGNMENT, kGuard), count_{count} {
  void* first = storage_.data() + kGuardBytes;
  size_t space = static_cast<size_t>(count) + HASHEVICT_ALIGNMENT;
  data_ = static_cast<std::byte*>(std::align(HASHEVICT_ALIGNMENT, static_cast<size_t>(count), first, space));
}

bool GuardedBuffer::guards_intact() const {
  const auto begin = data_ - storage_.data();
  const auto is_guard = [](std::byte b) { return b == kGuard; };
  return std::all_of(storage_.begin(), storage_.begin() + begin, is_guard) &&
         std::all_of(storage_.begin() + begin + static_cast<std::ptrdiff_t>(count_), storage_.end(), is_guard);
}

bool GuardedBuffer::contains(const void* pointer) const {
  const auto* const p = static_cast<const std::byte*>(pointer);
  return p >= data_ && p < data_ + count_;
}

}  // namespace hashevict::test
