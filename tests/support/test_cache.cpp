// SPDX-License-Identifier: Apache-2.0
#include "support/test_cache.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>
#include <utility>

#include "support/element.hpp"

namespace hashevict::test {
namespace {

constexpr std::byte kAllBits{0xFF};  // NaN in every float type: a slot that is read before it was written shows

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
  EXPECT_EQ(a.length, b.length);
  EXPECT_EQ(a.tokens_seen, b.tokens_seen);
  EXPECT_EQ(a.positions, b.positions);
  EXPECT_TRUE(a.codes == b.codes) << "codes differ";
  EXPECT_TRUE(a.keys == b.keys) << "keys differ";
  EXPECT_TRUE(a.values == b.values) << "values differ";
}

Config small_config() {
  Config config;
  config.num_layers = 1;
  config.num_sequences = 2;
  config.num_qo_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.dtype = DType::float32;
  config.capacity = 24;
  config.num_sink_tokens = 2;
  config.recent_window = 5;
  config.seed = 11;
  config.page_size = 5;
  config.max_batch_tokens = 512;
  config.num_threads = 1;
  return config;
}

TestCache::TestCache(Backend backend, Config config, Arrangement arrangement)
    : backend_{backend}, config_{std::move(config)} {
  config_.backend = backend;
  const bool paged = arrangement == Arrangement::padded_pages || arrangement == Arrangement::csr_pages;
  if (paged) config_.layout = Layout::paged;
  Memory memory;
  if (paged) lend_pages(memory, arrangement == Arrangement::csr_pages);
  if (arrangement == Arrangement::strided || arrangement == Arrangement::interleaved) {
    lend_strided(memory, arrangement == Arrangement::interleaved);
  }
  if (arrangement != Arrangement::owned) lend_state(memory);
  cache_ = std::make_unique<Cache>(config_, memory);
}

int32_t TestCache::capacity(int32_t layer) const {
  return config_.layer_capacities.empty() ? config_.capacity
                                          : config_.layer_capacities[static_cast<std::size_t>(layer)];
}

void* TestCache::lend(std::size_t bytes, std::byte fill) {
  lent_.emplace_back(backend_, bytes);
  upload(backend_, std::vector<std::byte>(bytes, fill).data(), lent_.back().data(), bytes);
  return lent_.back().data();
}

void TestCache::lend_strided(Memory& memory, bool interleaved) {
  const int64_t dim = config_.head_dim;
  int64_t slots = 0;
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) slots = std::max<int64_t>(slots, capacity(layer));
  memory.slot_stride = interleaved ? 2 * dim : dim + 8;
  memory.head_stride = slots * memory.slot_stride + 8;
  memory.sequence_stride = config_.num_kv_heads * memory.head_stride + 16;
  if (config_.layout == Layout::slot_major) {
    memory.head_stride = std::exchange(memory.slot_stride, 0);
    memory.slot_stride = config_.num_kv_heads * memory.head_stride + 8;
    memory.sequence_stride = slots * memory.slot_stride + 16;
  }
  const std::size_t element = size_of(config_.dtype);
  const std::size_t bytes = static_cast<std::size_t>(config_.num_sequences * memory.sequence_stride) * element;
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
    void* const keys = lend(bytes, kAllBits);
    memory.keys.push_back(keys);
    memory.values.push_back(interleaved ? static_cast<std::byte*>(keys) + static_cast<std::size_t>(dim) * element
                                        : lend(bytes, kAllBits));
  }
  num_slot_buffers_ = lent_.size();
}

void TestCache::lend_pages(Memory& memory, bool csr) {
  int32_t slots = 0;
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) slots = std::max(slots, capacity(layer));
  const int32_t pages = (slots + config_.page_size - 1) / config_.page_size;  // of a sequence
  const int32_t spare = 3;                                                    // pages that belong to nobody
  const int32_t stride = csr ? pages : pages + 2;
  memory.num_pages = config_.num_sequences * pages + spare;

  std::vector<int32_t> order(static_cast<std::size_t>(memory.num_pages));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937{5});
  for (int32_t sequence = 0; sequence < config_.num_sequences; ++sequence) {
    offsets_.push_back(sequence * stride);
    for (int32_t i = 0; i < stride; ++i) {
      table_.push_back(i < pages ? order[static_cast<std::size_t>(sequence * pages + i)] : -1);
    }
  }
  offsets_.push_back(config_.num_sequences * stride);

  const std::size_t page = static_cast<std::size_t>(config_.num_kv_heads) *
                           static_cast<std::size_t>(config_.page_size) * static_cast<std::size_t>(config_.head_dim);
  const std::size_t bytes = static_cast<std::size_t>(memory.num_pages) * page * size_of(config_.dtype);
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
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
  memory.block_table_offsets = static_cast<const int32_t*>(offsets);
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
  }
  const auto tokens = static_cast<int64_t>(all.count);
  const int64_t qo_heads = config_.num_qo_heads;
  const int64_t kv_heads = config_.num_kv_heads;
  const int64_t dim = config_.head_dim;
  const Array row_to_sequence{backend_, {static_cast<int64_t>(batch.size())}, sequences};
  const Array cu_seqlens{backend_, {static_cast<int64_t>(starts.size())}, starts};
  const Array q{backend_, options.input, {tokens, qo_heads, dim}, all.q};
  const Array k{backend_, options.input, {tokens, kv_heads, dim}, all.k};
  const Array v{backend_, options.input, {tokens, kv_heads, dim}, all.v};
  const Array out{backend_, options.output, {tokens, qo_heads, dim}};
  const Array lse{backend_, DType::float32, {tokens, qo_heads}};
  const Array slots{backend_, DType::int32, {tokens, kv_heads}};
  const Array victims{backend_, DType::int32, {tokens, kv_heads}};

  Step step;
  step.layer = options.layer;
  step.row_to_sequence = row_to_sequence.tensor();
  step.cu_seqlens = cu_seqlens.tensor();
  step.q = q.tensor();
  step.k = k.tensor();
  step.v = v.tensor();
  step.out = out.tensor();
  step.lse = lse.tensor();
  step.slots = slots.tensor();
  step.victims = victims.tensor();
  step.softmax_scale = options.softmax_scale;
  step.logit_soft_cap = options.logit_soft_cap;
  step.prefill_mode = options.mode;
  step.prefill_window = options.window;
  switch (operation) {
    case Operation::prefill:
      cache_->prefill(step, Stream{});
      break;
    case Operation::evict:
      cache_->evict(step, Stream{});
      break;
    case Operation::append:
      cache_->append(step, Stream{});
      break;
    case Operation::attend:
      cache_->attend(step, Stream{});
      break;
    case Operation::decode:
      cache_->decode(step, Stream{});
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

/// The valid slots of a sequence, head by head, wherever their pages are.
std::vector<std::byte> TestCache::rows(const Tensor& slots, int32_t sequence, int32_t length) const {
  const bool paged = config_.layout == Layout::paged;
  const std::size_t element = size_of(config_.dtype);
  std::vector<std::byte> result;
  for (int32_t head = 0; head < config_.num_kv_heads; ++head) {
    for (int32_t slot = 0; slot < length; ++slot) {
      int64_t outer = sequence;
      if (paged) {
        const int32_t entry = offsets_[static_cast<std::size_t>(sequence)] + slot / config_.page_size;
        outer = table_[static_cast<std::size_t>(entry)];
      }
      const int64_t offset = outer * slots.stride[0] + head * slots.stride[1] +
                             (paged ? slot % config_.page_size : slot) * slots.stride[2];
      const auto row = download(backend_, slots.data_as<std::byte>() + static_cast<std::size_t>(offset) * element,
                                static_cast<std::size_t>(config_.head_dim) * element);
      result.insert(result.end(), row.begin(), row.end());
    }
  }
  return result;
}

State TestCache::state(int32_t layer, int32_t sequence) const {
  const View view = std::as_const(*cache_).view(layer);
  const auto s = static_cast<std::size_t>(sequence);
  State state;
  state.length = read_ints(backend_, view.lengths)[s];
  state.tokens_seen = read_ints(backend_, view.tokens_seen)[s];
  const auto heads = static_cast<std::size_t>(config_.num_kv_heads);
  const auto slots = static_cast<std::size_t>(capacity(layer));
  const auto code = static_cast<std::size_t>(config_.hash_bits / 8);
  state.positions = part(read_ints(backend_, view.positions), s, 1, heads * slots);
  const std::vector<std::byte> codes = read(backend_, view.codes);
  for (std::size_t h = 0; h < heads; ++h) {
    const auto begin = codes.begin() + static_cast<std::ptrdiff_t>((s * heads + h) * slots * code);
    state.codes.insert(state.codes.end(), begin,
                       begin + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(state.length) * code));
  }
  state.keys = rows(view.keys, sequence, state.length);
  state.values = rows(view.values, sequence, state.length);
  return state;
}

std::vector<State> TestCache::states() const {
  std::vector<State> states;
  for (int32_t layer = 0; layer < config_.num_layers; ++layer) {
    for (int32_t sequence = 0; sequence < config_.num_sequences; ++sequence) states.push_back(state(layer, sequence));
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
