// SPDX-License-Identifier: Apache-2.0
#include "support/test_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "support/any_args.hpp"
#include "support/element.hpp"

namespace hashevict::test {
namespace {

constexpr std::byte kAllBits{0xFF};  // NaN in every float type, so that a read of an unwritten slot shows

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

void append(std::vector<float>& target, const std::vector<float>& source) {
  target.insert(target.end(), source.begin(), source.end());
}

template <class T>
std::vector<T> part(const std::vector<T>& all, std::size_t first_token, std::size_t count, std::size_t width) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first_token * width);
  return {begin, begin + static_cast<std::ptrdiff_t>(count * width)};
}

}  // namespace

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.slots, b.slots);
  EXPECT_EQ(a.victims, b.victims);
  EXPECT_TRUE(same_bits(a.out, b.out)) << "outputs differ";
  EXPECT_TRUE(same_bits(a.lse, b.lse)) << "lse differs";
}

void expect_same(const State& a, const State& b) {
  EXPECT_EQ(a.lengths, b.lengths);
  EXPECT_EQ(a.tokens_seen, b.tokens_seen);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_TRUE(a.codes == b.codes) << "codes differ";
  EXPECT_TRUE(a.keys == b.keys) << "keys differ";
  EXPECT_TRUE(a.values == b.values) << "values differ";
}

Config small_config() {
  Config config;
  config.shape.num_layers = 1;
  config.shape.num_sequences = 2;
  config.shape.num_qo_heads = 4;
  config.shape.num_kv_heads = 2;
  config.shape.head_dim = 16;
  config.shape.dtype = DType::float32;
  config.shape.capacity = 24;
  config.rule.num_sink_tokens = 2;
  config.rule.recent_window = 5;
  config.rule.seed = 11;
  config.placement.page_size = 5;
  config.execution.max_batch_tokens = 512;
  config.execution.num_threads = 1;
  return config;
}

Config ragged_config() {
  Config config = small_config();
  config.shape.num_layers = 2;
  config.shape.capacities = {8, 70, 25, 24};
  return config;
}

const Rule& rule_of(const Config& config, int32_t layer) {
  return config.layer_rules.empty() ? config.rule : config.layer_rules[static_cast<std::size_t>(layer)];
}

int32_t capacity_of(const Config& config, int32_t layer, int32_t kv_head) {
  if (config.shape.capacities.empty()) return config.shape.capacity;
  return config.shape.capacities[static_cast<std::size_t>(layer * config.shape.num_kv_heads + kv_head)];
}

TestCache::TestCache(Backend backend, Config config, Arrangement arrangement)
    : backend_{backend}, config_{std::move(config)} {
  config_.placement.backend = backend;
  const bool paged = arrangement == Arrangement::padded_pages || arrangement == Arrangement::csr_pages;
  if (paged) config_.placement.layout = Layout::paged;
  Memory memory;
  if (paged) lend_pages(memory, arrangement == Arrangement::csr_pages);
  if (arrangement == Arrangement::strided || arrangement == Arrangement::interleaved) {
    lend_strided(memory, arrangement == Arrangement::interleaved);
  }
  if (arrangement != Arrangement::owned) lend_state(memory);
  cache_ = std::make_unique<Cache>(config_, memory);
  learn();
  weigh();
}

/// Sets importance_weights() in every layer that weighs keys.
void TestCache::weigh() {
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    const Rule& rule = rule_of(config_, layer);
    if (rule.policy != Policy::importance || rule.importance_source != ImportanceSource::key) continue;
    const ImportanceWeights weights = importance_weights(config_, layer);
    const int64_t heads = config_.shape.num_kv_heads;
    cache_->set_importance_weights(layer, Tensor{weights.weight.data(), {heads, config_.shape.head_dim}},
                                   Tensor{weights.bias.data(), {heads}});
  }
}

/// Copies to every layer with a learned projection the one that another cache has drawn. The oracle uses the same.
void TestCache::learn() {
  Config drawn = config_;
  drawn.placement.layout = Layout::head_major;
  drawn.layer_rules.clear();
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    const Rule& rule = rule_of(config_, layer);
    if (rule.projection_kind != ProjectionKind::learned) continue;
    drawn.rule = rule;
    drawn.rule.projection_kind = ProjectionKind::gaussian;
    const Cache teacher{drawn};
    const bool per_head = rule.projection_per_head != 0;
    const int64_t heads = per_head ? config_.shape.num_kv_heads : 1;
    const int64_t bits = rule.hash_bits;
    const int64_t dim = config_.shape.head_dim;
    std::vector<float> numbers(static_cast<std::size_t>(heads * bits * dim));
    const Tensor projection =
        per_head ? Tensor{numbers.data(), {heads, bits, dim}} : Tensor{numbers.data(), {bits, dim}};
    teacher.get_projection(layer, projection);
    cache_->set_projection(layer, projection);
  }
}

void* TestCache::lend(std::size_t bytes, std::byte fill) {
  lent_.emplace_back(backend_, bytes);
  upload(backend_, std::vector<std::byte>(bytes, fill).data(), lent_.back().data(), bytes);
  return lent_.back().data();
}

void TestCache::lend_strided(Memory& memory, bool interleaved) {
  const auto element = static_cast<int64_t>(size_of(config_.shape.dtype));
  const int64_t row = config_.shape.head_dim * element;
  const int32_t heads = config_.shape.num_kv_heads;
  const bool slot_major = config_.placement.layout == Layout::slot_major;
  const int64_t inner = interleaved ? 2 * row : row + 8 * element;
  memory.head_stride = slot_major ? inner : 0;
  memory.slot_stride = slot_major ? heads * inner + 8 * element : inner;
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    int64_t end = slot_major ? capacity_of(config_, layer, 0) * memory.slot_stride : 0;
    for (int32_t head = 0; head < heads && !slot_major; ++head) {
      memory.head_offsets.push_back(end);
      end += capacity_of(config_, layer, head) * memory.slot_stride + 8 * element;
    }
    memory.sequence_strides.push_back(end + 16 * element);
    const auto bytes = static_cast<std::size_t>(config_.shape.num_sequences * memory.sequence_strides.back());
    void* const keys = lend(bytes, kAllBits);
    memory.keys.push_back(keys);
    memory.values.push_back(interleaved ? static_cast<std::byte*>(keys) + row : lend(bytes, kAllBits));
  }
  num_slot_buffers_ = lent_.size();
}

void TestCache::lend_pages(Memory& memory, bool csr) {
  int32_t slots = 0;
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer)
    slots = std::max(slots, capacity_of(config_, layer, 0));
  const int32_t pages = (slots + config_.placement.page_size - 1) / config_.placement.page_size;  // per sequence
  const int32_t spare = 3;  // pages that belong to no sequence
  const int32_t stride = csr ? pages : pages + 2;
  memory.num_pages = config_.shape.num_sequences * pages + spare;

  std::vector<int32_t> order(static_cast<std::size_t>(memory.num_pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937{5});
  for (int32_t sequence = 0; sequence < config_.shape.num_sequences; ++sequence) {
    offsets_.push_back(sequence * stride);
    for (int32_t i = 0; i < stride; ++i) {
      table_.push_back(i < pages ? order[static_cast<std::size_t>(sequence * pages + i)] : -1);
    }
  }
  offsets_.push_back(config_.shape.num_sequences * stride);

  const std::size_t page = static_cast<std::size_t>(config_.shape.num_kv_heads) *
                           static_cast<std::size_t>(config_.placement.page_size) *
                           static_cast<std::size_t>(config_.shape.head_dim);
  const std::size_t bytes = static_cast<std::size_t>(memory.num_pages) * page * size_of(config_.shape.dtype);
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    memory.keys.push_back(lend(bytes, kAllBits));
    memory.values.push_back(lend(bytes, kAllBits));
  }
  num_slot_buffers_ = lent_.size();
  void* const table = lend(table_.size() * sizeof(int32_t), kAllBits);
  upload(backend_, table_.data(), table, table_.size() * sizeof(int32_t));
  lent_table_ = static_cast<const int32_t*>(table);
  memory.block_table = lent_table_;
  if (!csr) {
    memory.block_table_stride = stride;
    return;
  }
  void* const offsets = lend(offsets_.size() * sizeof(int32_t), kAllBits);
  upload(backend_, offsets_.data(), offsets, offsets_.size() * sizeof(int32_t));
  lent_offsets_ = offsets;
  memory.block_table_offsets = static_cast<const int32_t*>(offsets);
  memory.block_table_length = static_cast<int64_t>(table_.size());
}

void TestCache::set_page_list(int32_t sequence, int32_t first, int32_t end) {
  std::vector<int32_t> offsets = offsets_;
  offsets[static_cast<std::size_t>(sequence)] = first;
  offsets[static_cast<std::size_t>(sequence) + 1] = end;
  upload(backend_, offsets.data(), lent_offsets_, offsets.size() * sizeof(int32_t));
}

void TestCache::lend_state(Memory& memory) {
  const Bytes bytes = Cache::required_bytes(config_);
  memory.state_bytes = bytes.state;
  memory.state = lend(bytes.state, kAllBits);
  memory.workspace_bytes = bytes.workspace;
  memory.workspace = lend(bytes.workspace, kAllBits);
}

std::vector<Outcome> TestCache::run(Operation operation, const Batch& batch, const Options& options) {
  Tokens all;
  std::vector<int32_t> sequences;
  std::vector<int32_t> starts{0};
  for (const Row& row : batch) {
    sequences.push_back(row.sequence);
    all.count += row.tokens.count;
    starts.push_back(static_cast<int32_t>(all.count));
    append(all.q, row.tokens.q);
    append(all.k, row.tokens.k);
    append(all.v, row.tokens.v);
    append(all.importance, row.tokens.importance);
    append(all.importance_slope, row.tokens.importance_slope);
  }
  const auto tokens = static_cast<int64_t>(all.count);
  const int64_t qo_heads = config_.shape.num_qo_heads;
  const int64_t kv_heads = config_.shape.num_kv_heads;
  const int64_t dim = config_.shape.head_dim;
  const Array row_to_sequence{backend_, {static_cast<int64_t>(batch.size())}, sequences};
  const Array cu_seqlens{backend_, {static_cast<int64_t>(starts.size())}, starts};
  const Array q{backend_, options.input, {tokens, qo_heads, dim}, all.q};
  const Array k{backend_, options.input, {tokens, kv_heads, dim}, all.k};
  const Array v{backend_, options.input, {tokens, kv_heads, dim}, all.v};
  const Array out{backend_, options.output, {tokens, qo_heads, dim}};
  const Array lse{backend_, DType::float32, {tokens, qo_heads}};
  const Array slots{backend_, DType::int32, {tokens, kv_heads}};
  const Array victims{backend_, DType::int32, {tokens, kv_heads}};

  AnyArgs args;
  args.layer = options.layer;
  args.batch.row_to_sequence = row_to_sequence.tensor();
  args.batch.cu_seqlens = cu_seqlens.tensor();
  args.q = q.tensor();
  args.k = k.tensor();
  args.v = v.tensor();
  args.out = out.tensor();
  args.lse = lse.tensor();
  args.slots = slots.tensor();
  args.victims = victims.tensor();
  args.softmax.scale = options.softmax_scale;
  args.softmax.logit_soft_cap = options.logit_soft_cap;
  args.mode = static_cast<int32_t>(options.mode);
  args.window = options.window;
  args.queries = static_cast<int32_t>(options.queries);
  if (operation == Operation::prefill) {
    args.attention = static_cast<int32_t>(options.attention.value_or(PrefillAttention::streamed));
    if (!options.attention || !attends_prompts(backend_)) args.out = args.lse = Tensor{};
  }
  const Rule& rule = rule_of(config_, options.layer);
  const auto num_importances = static_cast<std::size_t>(tokens * kv_heads);
  all.importance.resize(num_importances);
  all.importance_slope.resize(num_importances);
  const bool by_importance = rule.policy == Policy::importance;
  const Array importance{backend_, DType::float32, {tokens, kv_heads}, all.importance};
  const Array importance_slope{backend_, DType::float32, {tokens, kv_heads}, all.importance_slope};
  if (by_importance && rule.importance_source == ImportanceSource::given) args.importance = importance.tensor();
  if (by_importance && rule.importance_slopes != 0) args.importance_slope = importance_slope.tensor();
  switch (operation) {
    case Operation::prefill:
      cache_->prefill(args, Stream{});
      break;
    case Operation::evict:
      cache_->evict(args, Stream{});
      break;
    case Operation::append:
      cache_->append(args, Stream{});
      break;
    case Operation::attend:
      cache_->attend(args, Stream{});
      break;
    case Operation::decode:
      cache_->decode(args, Stream{});
      break;
  }

  const Outcome together{slots.ints(), victims.ints(), out.floats(), lse.floats()};
  std::vector<Outcome> outcomes;
  for (std::size_t r = 0; r < batch.size(); ++r) {
    const auto first = static_cast<std::size_t>(starts[r]);
    const std::size_t count = batch[r].tokens.count;
    outcomes.push_back({part(together.slots, first, count, static_cast<std::size_t>(kv_heads)),
                        part(together.victims, first, count, static_cast<std::size_t>(kv_heads)),
                        part(together.out, first, count, static_cast<std::size_t>(qo_heads * dim)),
                        part(together.lse, first, count, static_cast<std::size_t>(qo_heads))});
  }
  return outcomes;
}

/// Adds the valid slots of a head of a sequence, gathered from wherever they are.
void TestCache::append_rows(const Tensor& slots, int32_t sequence, int32_t length, std::vector<std::byte>& rows) const {
  const bool paged = config_.placement.layout == Layout::paged;
  const std::size_t element = size_of(config_.shape.dtype);
  for (int32_t slot = 0; slot < length; ++slot) {
    int64_t outer = sequence;
    if (paged) {
      const int32_t entry = offsets_[static_cast<std::size_t>(sequence)] + slot / config_.placement.page_size;
      outer = table_[static_cast<std::size_t>(entry)];
    }
    const int64_t offset =
        outer * slots.stride[0] + (paged ? slot % config_.placement.page_size : slot) * slots.stride[1];
    const auto row = download(backend_, slots.data_as<std::byte>() + static_cast<std::size_t>(offset) * element,
                              static_cast<std::size_t>(config_.shape.head_dim) * element);
    rows.insert(rows.end(), row.begin(), row.end());
  }
}

State TestCache::state(int32_t layer, int32_t sequence) const {
  const auto s = static_cast<std::size_t>(sequence);
  const auto code = static_cast<std::size_t>(rule_of(config_, layer).hash_bits / 8);
  State state;
  for (int32_t head = 0; head < config_.shape.num_kv_heads; ++head) {
    const View view = std::as_const(*cache_).view(layer, head);
    const int32_t length = read_ints(backend_, view.lengths)[s];
    const int32_t seen = read_ints(backend_, view.tokens_seen)[s];
    if (head > 0) {
      EXPECT_EQ(seen, state.tokens_seen) << "KV head " << head;
    }
    state.lengths.push_back(length);
    state.tokens_seen = seen;
    const auto slots = static_cast<std::size_t>(capacity_of(config_, layer, head));
    const std::vector<int32_t> positions = part(read_ints(backend_, view.positions), s, 1, slots);
    state.positions.insert(state.positions.end(), positions.begin(), positions.end());
    const std::vector<std::byte> codes = read(backend_, view.codes);
    const auto begin = codes.begin() + static_cast<std::ptrdiff_t>(s * slots * code);
    state.codes.insert(state.codes.end(), begin,
                       begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(length) * code));
    append_rows(view.keys, sequence, length, state.keys);
    append_rows(view.values, sequence, length, state.values);
  }
  return state;
}

std::vector<State> TestCache::states() const {
  std::vector<State> states;
  for (int32_t layer = 0; layer < config_.shape.num_layers; ++layer) {
    for (int32_t sequence = 0; sequence < config_.shape.num_sequences; ++sequence)
      states.push_back(state(layer, sequence));
  }
  return states;
}

std::vector<int32_t> TestCache::block_table_now() const {
  return read_ints(backend_, Tensor{lent_table_, {static_cast<int64_t>(table_.size())}});
}

std::vector<std::vector<std::byte>> TestCache::lent_bytes() const {
  std::vector<std::vector<std::byte>> bytes;
  for (std::size_t i = 0; i < num_slot_buffers_; ++i) {
    bytes.push_back(download(backend_, lent_[i].data(), lent_[i].size()));
  }
  return bytes;
}

}  // namespace hashevict::test
