// SPDX-License-Identifier: Apache-2.0
#include "backend/snapshot.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/failure.hpp"
#include "core/rule.hpp"

namespace hashevict {
namespace {

using core::Storage;

static_assert(std::endian::native == std::endian::little, "snapshots are little-endian");

constexpr std::array<char, 8> kMagic{'H', 'E', 'V', 'I', 'C', 'T', '0', '1'};

/// One thing that both caches must agree on, with its name for the message. What a rule does not read counts as 0.
struct Trait {
  const char* name;
  int64_t value;
};

constexpr std::size_t kNumTraits = 15;

std::array<Trait, kNumTraits> traits_of(const Storage& storage) {
  const hashevict_config& c = storage.settings.config;
  const bool hash = c.policy == HASHEVICT_POLICY_HASH;
  const bool random = c.policy == HASHEVICT_POLICY_RANDOM;
  return {{{"num_layers", c.num_layers},
           {"num_qo_heads", c.num_qo_heads},
           {"num_kv_heads", c.num_kv_heads},
           {"kv_head_offset", c.kv_head_offset},
           {"head_dim", c.head_dim},
           {"dtype", c.dtype},
           {"policy", c.policy},
           {"hash_bits", c.hash_bits},
           {"hash_source", hash ? c.hash_source : 0},
           {"tie", c.tie},
           {"score_decay_shift", c.score_decay_shift},
           {"centering", c.centering},
           {"pin_prompt", c.pin_prompt != 0 ? 1 : 0},
           {"projection_per_head", c.projection_per_head != 0 ? 1 : 0},
           {"seed", random ? static_cast<int64_t>(c.seed) : 0}}};
}

struct Header {
  std::array<char, 8> magic;
  uint64_t total_bytes;
  uint64_t checksum;  ///< of everything after the header
  std::array<int64_t, kNumTraits> traits;
};

struct LayerHeader {
  int32_t capacity, num_sink_tokens, recent_window;
  int32_t length, tokens_seen, prompt_length, center_set;
  int32_t reserved;
  uint64_t projection_checksum;
};

/// A multiply-xor hash over 64-bit words. Each step is a bijection of the word and of the state, so that no damage to
/// a single word goes unseen.
class Checksum {
 public:
  void add(const std::byte* data, uint64_t bytes) {
    while (bytes > 0) {
      uint64_t word = 0;
      const uint64_t taken = std::min<uint64_t>(bytes, sizeof word);
      std::memcpy(&word, data, taken);
      state_ = std::rotl((state_ ^ word) * 0x9E3779B97F4A7C15ULL, 29);
      data += taken;
      bytes -= taken;
    }
  }
  [[nodiscard]] uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xCBF29CE484222325ULL;
};

/// What a piece of state holds; positions are checked before they are believed.
enum class Piece { positions, other };

/// Calls `visit(backend_memory, bytes, piece)` for every piece of a layer's state that travels, in a fixed order.
template <class Visit>
void visit_state(const Storage& storage, int32_t layer, int32_t sequence, int32_t length, const Visit& visit) {
  const core::Settings& settings = storage.settings;
  const hashevict_config& c = settings.config;
  const core::LayerState& state = storage.layer_state(layer);
  const int64_t padded = storage.layer_settings(layer).padded_capacity;
  const int64_t accumulator = core::accumulator_bytes(c);
  const auto visit_floats = [&](float* base, int64_t first, int64_t count) {
    visit(base + first, static_cast<uint64_t>(count) * sizeof(float), Piece::other);
  };
  for (int32_t head = 0; head < c.num_kv_heads; ++head) {
    const int64_t pair = int64_t{sequence} * c.num_kv_heads + head;
    const int64_t slot = pair * padded;
    const auto slots = static_cast<uint64_t>(length);
    visit(state.codes + slot * settings.code_bytes, slots * static_cast<uint64_t>(settings.code_bytes), Piece::other);
    visit(state.positions + slot, slots * sizeof(int32_t), Piece::positions);
    if (accumulator > 0) {
      visit(state.accumulators + slot * accumulator, slots * static_cast<uint64_t>(accumulator), Piece::other);
    }
    if (c.policy == HASHEVICT_POLICY_MEAN) visit_floats(state.key_sums, pair * c.head_dim, c.head_dim);
    if (c.policy == HASHEVICT_POLICY_MAJORITY) {
      visit(state.bit_counts + pair * c.hash_bits, static_cast<uint64_t>(c.hash_bits) * sizeof(int32_t), Piece::other);
    }
    if (settings.centered()) visit_floats(state.key_centers, pair * c.head_dim, c.head_dim);
  }
  if (settings.centered()) {
    const int64_t size = int64_t{c.num_qo_heads} * c.head_dim;
    visit_floats(state.query_centers, sequence * size, size);
  }
}

/// Calls `visit(backend_memory, bytes, piece)` for every run of key and value rows.
template <class Visit>
void visit_rows(const Storage& storage, int32_t layer, int32_t sequence, int32_t length, const int32_t* pages,
                const Visit& visit) {
  const core::Settings& settings = storage.settings;
  const int64_t element = core::size_of(settings.dtype);
  for (void* const base : {storage.keys(layer), storage.values(layer)}) {
    for (int32_t head = 0; head < settings.config.num_kv_heads; ++head) {
      const core::SlotAddress address = core::slot_address(storage, layer, sequence, head, pages);
      const bool dense = address.slot_stride == settings.config.head_dim;
      for (int32_t slot = 0; slot < length;) {
        const int32_t run = dense ? std::min(address.run(slot), length - slot) : 1;
        visit(static_cast<std::byte*>(base) + address(slot) * element,
              static_cast<uint64_t>(run) * static_cast<uint64_t>(settings.config.head_dim * element), Piece::other);
        slot += run;
      }
    }
  }
}

uint64_t layer_bytes(const Storage& storage, int32_t layer, int32_t length) {
  const hashevict_config& c = storage.settings.config;
  uint64_t bytes = sizeof(LayerHeader);
  visit_state(storage, layer, 0, length, [&](const void*, uint64_t size, Piece) { bytes += size; });
  const int64_t row = int64_t{c.head_dim} * core::size_of(storage.settings.dtype);
  return bytes + 2 * static_cast<uint64_t>(int64_t{length} * c.num_kv_heads * row);
}

uint64_t projection_checksum(Backend& backend, int32_t layer, hashevict_stream stream) {
  const core::Settings& settings = backend.storage().settings;
  const float* const projection = backend.storage().layer_state(layer).projection;
  std::array<std::byte, 1024> chunk;
  uint64_t left = static_cast<uint64_t>(settings.num_projections) * static_cast<uint64_t>(settings.config.head_dim) *
                  static_cast<uint64_t>(settings.config.hash_bits) * sizeof(float);
  const auto* source = reinterpret_cast<const std::byte*>(projection);
  Checksum checksum;
  while (left > 0) {
    const uint64_t bytes = std::min<uint64_t>(left, chunk.size());
    backend.read(chunk.data(), source, bytes, stream);
    checksum.add(chunk.data(), bytes);
    source += bytes;
    left -= bytes;
  }
  return checksum.value();
}

int32_t read_counter(Backend& backend, const int32_t* counters, int32_t sequence, hashevict_stream stream) {
  int32_t value = 0;
  backend.read(&value, counters + sequence, sizeof value, stream);
  return value;
}

LayerHeader layer_header(Backend& backend, int32_t layer, int32_t sequence, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const core::LayerSettings& shape = storage.layer_settings(layer);
  const core::LayerState& state = storage.layer_state(layer);
  return LayerHeader{.capacity = shape.capacity,
                     .num_sink_tokens = shape.num_sink_tokens,
                     .recent_window = shape.recent_window,
                     .length = read_counter(backend, state.lengths, sequence, stream),
                     .tokens_seen = read_counter(backend, state.tokens_seen, sequence, stream),
                     .prompt_length = read_counter(backend, state.prompt_lengths, sequence, stream),
                     .center_set = read_counter(backend, state.center_set, sequence, stream),
                     .reserved = 0,
                     .projection_checksum = projection_checksum(backend, layer, stream)};
}

template <class... Args>
void expect_data(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) core::fail(HASHEVICT_INVALID_DATA, format, std::forward<Args>(args)...);
}

Header check_header(const Storage& storage, std::span<const std::byte> buffer) {
  Header header;
  expect_data(buffer.size() >= sizeof header, "buffer_bytes = {}: expected a saved state of at least {} bytes",
              buffer.size(), sizeof header);
  std::memcpy(&header, buffer.data(), sizeof header);
  expect_data(header.magic == kMagic, "buffer: expected a state written by hashevict_save()");
  expect_data(header.total_bytes >= sizeof header && header.total_bytes <= buffer.size(),
              "buffer_bytes = {}: expected the {} bytes that the state says it has", buffer.size(), header.total_bytes);
  Checksum checksum;
  checksum.add(buffer.data() + sizeof header, header.total_bytes - sizeof header);
  for (const int64_t& trait : header.traits) checksum.add(reinterpret_cast<const std::byte*>(&trait), sizeof trait);
  expect_data(checksum.value() == header.checksum, "buffer: the checksum does not match: the state is damaged");
  const auto traits = traits_of(storage);
  for (std::size_t i = 0; i < kNumTraits; ++i) {
    expect_data(header.traits[i] == traits[i].value, "buffer: saved with {} = {}: expected {}", traits[i].name,
                header.traits[i], traits[i].value);
  }
  return header;
}

void check_positions(std::span<const std::byte> bytes, int32_t tokens_seen, int32_t layer) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(int32_t)) {
    int32_t position = 0;
    std::memcpy(&position, bytes.data() + i, sizeof position);
    expect_data(position >= 0 && position < tokens_seen, "buffer: layer {} holds position {}: expected 0 to {}", layer,
                position, tokens_seen - 1);
  }
}

/// Checks one layer's part at `offset` and returns where it ends.
uint64_t check_layer(Backend& backend, int32_t layer, std::span<const std::byte> state, uint64_t offset,
                     LayerHeader& header, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const core::LayerSettings& shape = storage.layer_settings(layer);
  expect_data(state.size() - offset >= sizeof header, "buffer: ends within layer {}", layer);
  std::memcpy(&header, state.data() + offset, sizeof header);
  expect_data(header.capacity == shape.capacity, "buffer: layer {} saved with capacity {}: expected {}", layer,
              header.capacity, shape.capacity);
  expect_data(header.num_sink_tokens == shape.num_sink_tokens && header.recent_window == shape.recent_window,
              "buffer: layer {} saved with {} sinks and a recent window of {}: expected {} and {}", layer,
              header.num_sink_tokens, header.recent_window, shape.num_sink_tokens, shape.recent_window);
  const uint64_t checksum = projection_checksum(backend, layer, stream);
  expect_data(header.projection_checksum == checksum,
              "buffer: layer {} saved with a projection of checksum {:#x}: expected {:#x}, this cache's projection",
              layer, header.projection_checksum, checksum);
  expect_data(header.tokens_seen >= 0 && header.length == std::min(header.tokens_seen, shape.capacity) &&
                  header.prompt_length >= 0 && header.prompt_length <= header.tokens_seen,
              "buffer: layer {} has contradictory lengths {}, {}, {}", layer, header.length, header.tokens_seen,
              header.prompt_length);
  const uint64_t bytes = layer_bytes(storage, layer, header.length);
  expect_data(state.size() - offset >= bytes, "buffer: ends within layer {}", layer);
  uint64_t cursor = offset + sizeof header;
  visit_state(storage, layer, 0, header.length, [&](const void*, uint64_t size, Piece piece) {
    if (piece == Piece::positions) check_positions(state.subspan(cursor, size), header.tokens_seen, layer);
    cursor += size;
  });
  return offset + bytes;
}

}  // namespace

uint64_t snapshot_bytes(const Storage& storage) {
  uint64_t bytes = sizeof(Header);
  for (int32_t layer = 0; layer < storage.settings.config.num_layers; ++layer) {
    bytes += layer_bytes(storage, layer, storage.layer_settings(layer).capacity);
  }
  return bytes;
}

uint64_t save_snapshot(Backend& backend, int32_t sequence, std::span<std::byte> buffer, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const int32_t num_layers = storage.settings.config.num_layers;
  uint64_t total = sizeof(Header);
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const int32_t length = read_counter(backend, storage.layer_state(layer).lengths, sequence, stream);
    static_cast<void>(backend.host_pages(sequence, length, stream));  // checks the pages before anything is written
    total += layer_bytes(storage, layer, length);
  }
  core::require(buffer.size() >= total, "buffer_bytes = {}: expected at least {}", buffer.size(), total);
  std::byte* cursor = buffer.data() + sizeof(Header);
  const auto put = [&](const void* memory, uint64_t bytes, Piece) {
    backend.read(cursor, memory, bytes, stream);
    cursor += bytes;
  };
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const LayerHeader header = layer_header(backend, layer, sequence, stream);
    std::memcpy(cursor, &header, sizeof header);
    cursor += sizeof header;
    visit_state(storage, layer, sequence, header.length, put);
    visit_rows(storage, layer, sequence, header.length, backend.host_pages(sequence, header.length, stream), put);
  }
  Header header{kMagic, total, 0, {}};
  const auto traits = traits_of(storage);
  std::transform(traits.begin(), traits.end(), header.traits.begin(), [](const Trait& trait) { return trait.value; });
  Checksum checksum;
  checksum.add(buffer.data() + sizeof header, total - sizeof header);
  for (const int64_t& trait : header.traits) checksum.add(reinterpret_cast<const std::byte*>(&trait), sizeof trait);
  header.checksum = checksum.value();
  std::memcpy(buffer.data(), &header, sizeof header);
  return total;
}

void load_snapshot(Backend& backend, int32_t sequence, std::span<const std::byte> buffer, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const Header file = check_header(storage, buffer);
  const std::span<const std::byte> state = buffer.first(file.total_bytes);
  const int32_t num_layers = storage.settings.config.num_layers;
  uint64_t offset = sizeof file;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    LayerHeader header;
    offset = check_layer(backend, layer, state, offset, header, stream);
    static_cast<void>(backend.host_pages(sequence, header.length, stream));
  }
  expect_data(offset == state.size(), "buffer: {} bytes beyond the last layer", state.size() - offset);
  backend.reset(sequence, stream);
  const std::byte* cursor = state.data() + sizeof file;
  const auto get = [&](void* memory, uint64_t bytes, Piece) {
    backend.write(memory, cursor, bytes, stream);
    cursor += bytes;
  };
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    LayerHeader header;
    std::memcpy(&header, cursor, sizeof header);
    cursor += sizeof header;
    const core::LayerState& target = storage.layer_state(layer);
    backend.write(target.lengths + sequence, &header.length, sizeof(int32_t), stream);
    backend.write(target.tokens_seen + sequence, &header.tokens_seen, sizeof(int32_t), stream);
    backend.write(target.prompt_lengths + sequence, &header.prompt_length, sizeof(int32_t), stream);
    backend.write(target.center_set + sequence, &header.center_set, sizeof(int32_t), stream);
    visit_state(storage, layer, sequence, header.length, get);
    visit_rows(storage, layer, sequence, header.length, backend.host_pages(sequence, header.length, stream), get);
  }
}

}  // namespace hashevict
