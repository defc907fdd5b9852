// SPDX-License-Identifier: Apache-2.0
#include "backend/snapshot.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "backend/checksum.hpp"
#include "backend/encoder.hpp"
#include "backend/importance.hpp"
#include "backend/snapshot_layout.hpp"
#include "backend/transfers.hpp"
#include "core/failure.hpp"

namespace hashevict {
namespace {

using core::Storage;
using Counters = SequenceCounters;
using snapshot::visit_rows;
using snapshot::visit_state;

static_assert(std::endian::native == std::endian::little, "snapshots are little-endian");

constexpr std::array<char, 8> kMagic{'H', 'E', 'V', 'I', 'C', 'T', '0', '2'};

/// A property that both caches must share, with its name for the message. Properties that a rule does not read count as
/// 0.
struct Trait {
  const char* name;
  int64_t value;
};

constexpr std::size_t kNumTraits = 6;
constexpr std::size_t kNumLayerTraits = 10;
constexpr std::size_t kNumHeadTraits = 3;

std::array<Trait, kNumTraits> traits_of(const core::Shape& shape) {
  return {{{"num_layers", shape.num_layers},
           {"num_qo_heads", shape.num_qo_heads},
           {"num_kv_heads", shape.num_kv_heads},
           {"kv_head_offset", shape.kv_head_offset},
           {"head_dim", shape.head_dim},
           {"dtype", static_cast<int64_t>(shape.format.dtype)}}};
}

std::array<Trait, kNumLayerTraits> traits_of(const core::LayerSettings& layer) {
  const core::RuleSettings& rule = layer.rule;
  return {
      {{"policy", rule.policy},
       {"hash_bits", rule.hash_bits},
       {"hash_source", rule.hash_source},
       {"tie", rule.oldest_first ? HASHEVICT_TIE_OLDEST : HASHEVICT_TIE_LOWEST_SLOT},
       {"centering", rule.centering},
       {"pin_prompt", rule.pin_prompt ? 1 : 0},
       {"projection_per_head", rule.projection_per_head ? 1 : 0},
       {"seed", rule.facts.reads_seed ? static_cast<int64_t>(rule.seed) : 0},
       {"importance_source", rule.weighs_keys ? HASHEVICT_IMPORTANCE_SOURCE_KEY : HASHEVICT_IMPORTANCE_SOURCE_GIVEN},
       {"importance_slopes", rule.importance_slopes ? 1 : 0}}};
}

std::array<Trait, kNumHeadTraits> traits_of(const core::HeadSettings& head) {
  return {
      {{"capacity", head.capacity}, {"num_sink_tokens", head.num_sink_tokens}, {"recent_window", head.recent_window}}};
}

template <std::size_t kCount>
std::array<int64_t, kCount> values_of(const std::array<Trait, kCount>& traits) {
  std::array<int64_t, kCount> values{};
  std::transform(traits.begin(), traits.end(), values.begin(), [](const Trait& trait) { return trait.value; });
  return values;
}

struct Header {
  std::array<char, 8> magic;
  uint64_t total_bytes;
  uint64_t checksum;  ///< of everything behind the header, then of the traits
  std::array<int64_t, kNumTraits> traits;
};

/// The heads' headers follow.
struct LayerHeader {
  std::array<int64_t, kNumLayerTraits> traits;
  uint64_t projection_checksum;
  uint64_t importance_checksum;  ///< of the weights of importances
  Counters counters;
  int32_t unused;  ///< 0
};

struct HeadHeader {
  std::array<int64_t, kNumHeadTraits> traits;
};

uint64_t headers_bytes(const Storage& storage) {
  return sizeof(LayerHeader) + static_cast<uint64_t>(storage.settings.shape.num_kv_heads) * sizeof(HeadHeader);
}

/// Bytes of the keys and values of all heads of a layer that have seen `tokens_seen` tokens.
uint64_t rows_bytes(const Storage& storage, int32_t layer, int32_t tokens_seen) {
  int64_t slots = 0;
  for (const core::HeadSettings& head : storage.settings.heads_of(layer)) slots += head.length(tokens_seen);
  return 2 * static_cast<uint64_t>(slots * storage.settings.shape.format.row_bytes());
}

uint64_t layer_bytes(const Storage& storage, int32_t layer, int32_t tokens_seen) {
  const uint64_t state =
      visit_state(storage, layer, 0, tokens_seen, [](const void*, uint64_t, const Runs&, core::Content) {});
  return headers_bytes(storage) + state + rows_bytes(storage, layer, tokens_seen);
}

/// Calls `visit(backend_memory, counter)` for each counter of a sequence that its heads share.
template <class Visit>
void visit_counters(const Storage& storage, int32_t layer, int32_t sequence, Counters& counters, const Visit& visit) {
  const core::StatePointers& state = storage.layer(layer).state;
  visit(state.prompt_lengths + sequence, counters.prompt_length);
  visit(state.center_set + sequence, counters.center_set);
}

std::span<const Counters> read_counters(Backend& backend, int32_t sequence, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const std::span<Counters> counters = backend.host_counters();
  Transfers transfers{backend, stream};
  for (std::size_t layer = 0; layer < counters.size(); ++layer) {
    const auto read = [&](const int32_t* memory, int32_t& counter) {
      transfers.read(&counter, memory, {sizeof counter});
    };
    const core::Layer& own = storage.layers[layer];
    read(own.state.tokens_seen + int64_t{sequence} * own.shape.num_kv_heads, counters[layer].tokens_seen);
    visit_counters(storage, own.index, sequence, counters[layer], read);
  }
  transfers.finish();
  return counters;
}

LayerHeader layer_header(const Backend& backend, int32_t layer, const Counters& counters) {
  return LayerHeader{.traits = values_of(traits_of(backend.storage().settings.layer(layer))),
                     .projection_checksum = backend.checksum(Parameter::projection, layer),
                     .importance_checksum = backend.checksum(Parameter::importance_weights, layer),
                     .counters = counters,
                     .unused = 0};
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
  const auto traits = traits_of(storage.settings.shape);
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

/// Refuses a centre that set_center() would refuse. The mean of a prompt may have any value.
void check_centers(std::span<const std::byte> bytes, int32_t layer) {
  for (std::size_t i = 0; i < bytes.size(); i += sizeof(float)) {
    float value = 0.0F;
    std::memcpy(&value, bytes.data() + i, sizeof value);
    expect_data(std::isfinite(value), "buffer: layer {} holds element {} of a centre = {}: expected a finite number",
                layer, i / sizeof(float), value);
  }
}

/// Checks the headers of a layer's heads, which start at `offset`.
void check_heads(const Storage& storage, int32_t layer, std::span<const std::byte> state, uint64_t offset) {
  const std::span<const core::HeadSettings> heads = storage.settings.heads_of(layer);
  for (std::size_t kv_head = 0; kv_head < heads.size(); ++kv_head, offset += sizeof(HeadHeader)) {
    HeadHeader header;
    std::memcpy(&header, state.data() + offset, sizeof header);
    const auto traits = traits_of(heads[kv_head]);
    for (std::size_t i = 0; i < kNumHeadTraits; ++i) {
      expect_data(header.traits[i] == traits[i].value, "buffer: layer {}, KV head {} saved with {} = {}: expected {}",
                  layer, kv_head, traits[i].name, header.traits[i], traits[i].value);
    }
  }
}

/// Checks one layer's part, which starts at `offset`, and returns its end.
uint64_t check_layer(const Backend& backend, int32_t layer, std::span<const std::byte> state, uint64_t offset,
                     Counters& counters) {
  const Storage& storage = backend.storage();
  LayerHeader header;
  expect_data(state.size() - offset >= headers_bytes(storage), "buffer: ends within layer {}", layer);
  std::memcpy(&header, state.data() + offset, sizeof header);
  check_heads(storage, layer, state, offset + sizeof header);
  const auto traits = traits_of(storage.settings.layer(layer));
  for (std::size_t i = 0; i < kNumLayerTraits; ++i) {
    expect_data(header.traits[i] == traits[i].value, "buffer: layer {} saved with {} = {}: expected {}", layer,
                traits[i].name, header.traits[i], traits[i].value);
  }
  expect_data(header.projection_checksum == backend.checksum(Parameter::projection, layer),
              "buffer: layer {} saved with a projection of checksum {:#x}: expected {:#x}, this cache's projection",
              layer, header.projection_checksum, backend.checksum(Parameter::projection, layer));
  expect_data(header.importance_checksum == backend.checksum(Parameter::importance_weights, layer),
              "buffer: layer {} saved with importance weights of checksum {:#x}: expected {:#x}, this cache's weights",
              layer, header.importance_checksum, backend.checksum(Parameter::importance_weights, layer));
  counters = header.counters;
  expect_data(
      counters.tokens_seen >= 0 && counters.prompt_length >= 0 && counters.prompt_length <= counters.tokens_seen,
      "buffer: layer {} has contradictory counts of tokens {}, {}", layer, counters.tokens_seen,
      counters.prompt_length);
  expect_data(counters.center_set >= core::kCenterUnset && counters.center_set <= core::kCenterGiven,
              "buffer: layer {} has a centre of origin {}: expected {} to {}", layer, counters.center_set,
              int32_t{core::kCenterUnset}, int32_t{core::kCenterGiven});
  const uint64_t bytes = layer_bytes(storage, layer, counters.tokens_seen);
  expect_data(state.size() - offset >= bytes, "buffer: ends within layer {}", layer);
  const uint64_t first = offset + headers_bytes(storage);
  visit_state(storage, layer, 0, counters.tokens_seen,
              [&](const void*, uint64_t at, const Runs& runs, core::Content content) {
                for (uint64_t run = 0; run < runs.count; ++run) {
                  const auto bytes_of_run = state.subspan(first + at + run * runs.host_stride, runs.bytes);
                  if (content == core::Content::positions) check_positions(bytes_of_run, counters.tokens_seen, layer);
                  if (content == core::Content::centers && counters.center_set == core::kCenterGiven)
                    check_centers(bytes_of_run, layer);
                }
              });
  return offset + bytes;
}

/// Checks the pages of a sequence whose layers have such counters. @return the row of each head
std::span<const int32_t* const> pages_of(Backend& backend, int32_t sequence, std::span<const Counters> counters,
                                         hashevict_stream stream) {
  const std::span<int32_t> tokens = backend.host_numbers().first(counters.size());
  std::transform(counters.begin(), counters.end(), tokens.begin(), [](const Counters& own) { return own.tokens_seen; });
  return backend.host_pages(sequence, tokens, stream);
}

/// Those of one layer.
std::span<const int32_t* const> pages_of_layer(const Storage& storage, std::span<const int32_t* const> pages,
                                               int32_t layer) {
  if (pages.empty()) return pages;
  return pages.subspan(storage.settings.head_index(layer, 0),
                       static_cast<std::size_t>(storage.settings.shape.num_kv_heads));
}

/// Starts to write the counters that each head has. `numbers` [2, num_kv_heads] must stay until the end.
void write_head_counters(Transfers& transfers, const Storage& storage, int32_t layer, int32_t sequence,
                         int32_t tokens_seen, std::span<int32_t> numbers) {
  const core::Layer& own = storage.layer(layer);
  const auto heads = static_cast<std::size_t>(own.shape.num_kv_heads);
  for (std::size_t kv_head = 0; kv_head < heads; ++kv_head) {
    numbers[kv_head] = storage.settings.head(layer, static_cast<int32_t>(kv_head)).length(tokens_seen);
    numbers[heads + kv_head] = tokens_seen;
  }
  const std::size_t first = static_cast<std::size_t>(sequence) * heads;
  transfers.write(own.state.lengths + first, numbers.data(), {heads * sizeof(int32_t)});
  transfers.write(own.state.tokens_seen + first, numbers.data() + heads, {heads * sizeof(int32_t)});
}

/// Fills in everything that precedes the layers.
void write_header(const Storage& storage, std::span<std::byte> file) {
  Header header{kMagic, file.size(), 0, values_of(traits_of(storage.settings.shape))};
  Checksum checksum;
  checksum.add(file.data() + sizeof header, file.size() - sizeof header);
  for (const int64_t& trait : header.traits) checksum.add(reinterpret_cast<const std::byte*>(&trait), sizeof trait);
  header.checksum = checksum.value();
  std::memcpy(file.data(), &header, sizeof header);
}

}  // namespace

uint64_t snapshot_bytes(const Storage& storage) {
  uint64_t bytes = sizeof(Header);
  for (int32_t layer = 0; layer < storage.settings.shape.num_layers; ++layer) {
    bytes += layer_bytes(storage, layer, storage.layer(layer).max_capacity);
  }
  return bytes;
}

uint64_t save_snapshot(Backend& backend, int32_t sequence, std::span<std::byte> buffer, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const std::span<const Counters> counters = read_counters(backend, sequence, stream);
  const auto num_layers = static_cast<int32_t>(counters.size());
  const auto counters_of = [&](int32_t layer) -> const Counters& { return counters[static_cast<std::size_t>(layer)]; };
  // Checked before any writing.
  const std::span<const int32_t* const> pages = pages_of(backend, sequence, counters, stream);
  uint64_t total = sizeof(Header);
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    total += layer_bytes(storage, layer, counters_of(layer).tokens_seen);
  }
  core::require(buffer.size() >= total, "buffer_bytes = {}: expected at least {}", buffer.size(), total);

  Transfers transfers{backend, stream};
  std::byte* cursor = buffer.data() + sizeof(Header);
  const auto put = [&](const void* memory, uint64_t offset, const Runs& runs, core::Content) {
    transfers.read(cursor + offset, memory, runs);
  };
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const int32_t seen = counters_of(layer).tokens_seen;
    cursor += headers_bytes(storage);
    cursor += visit_state(storage, layer, sequence, seen, put);
    visit_rows(storage, layer, sequence, seen, pages_of_layer(storage, pages, layer), put);
    cursor += rows_bytes(storage, layer, seen);
  }
  transfers.finish();

  cursor = buffer.data() + sizeof(Header);
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    const LayerHeader header = layer_header(backend, layer, counters_of(layer));
    std::memcpy(cursor, &header, sizeof header);
    std::byte* of_head = cursor + sizeof header;
    for (const core::HeadSettings& head : storage.settings.heads_of(layer)) {
      const HeadHeader own{values_of(traits_of(head))};
      std::memcpy(of_head, &own, sizeof own);
      of_head += sizeof own;
    }
    cursor += layer_bytes(storage, layer, header.counters.tokens_seen);
  }
  write_header(storage, buffer.first(total));
  return total;
}

void load_snapshot(Backend& backend, int32_t sequence, std::span<const std::byte> buffer, hashevict_stream stream) {
  const Storage& storage = backend.storage();
  const Header file = check_header(storage, buffer);
  const std::span<const std::byte> state = buffer.first(file.total_bytes);
  const std::span<Counters> counters = backend.host_counters();
  const auto num_layers = static_cast<int32_t>(counters.size());
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    require_projection(backend, layer, "load");
    require_importance_weights(backend, layer, "load");
  }
  uint64_t offset = sizeof file;
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    offset = check_layer(backend, layer, state, offset, counters[static_cast<std::size_t>(layer)]);
  }
  expect_data(offset == state.size(), "buffer: {} bytes beyond the last layer", state.size() - offset);
  const std::span<const int32_t* const> pages = pages_of(backend, sequence, counters, stream);
  backend.reset(sequence, stream);
  Transfers transfers{backend, stream};
  const std::byte* cursor = state.data() + sizeof file;
  const auto get = [&](void* memory, uint64_t at, const Runs& runs, core::Content) {
    transfers.write(memory, cursor + at, runs);
  };
  for (int32_t layer = 0; layer < num_layers; ++layer) {
    Counters& own = counters[static_cast<std::size_t>(layer)];
    visit_counters(storage, layer, sequence, own, [&](int32_t* memory, const int32_t& counter) {
      transfers.write(memory, &counter, {sizeof counter});
    });
    const std::size_t numbers = 2 * static_cast<std::size_t>(storage.settings.shape.num_kv_heads);
    write_head_counters(transfers, storage, layer, sequence, own.tokens_seen,
                        backend.host_numbers().subspan(static_cast<std::size_t>(layer) * numbers, numbers));
    cursor += headers_bytes(storage);
    cursor += visit_state(storage, layer, sequence, own.tokens_seen, get);
    visit_rows(storage, layer, sequence, own.tokens_seen, pages_of_layer(storage, pages, layer), get);
    cursor += rows_bytes(storage, layer, own.tokens_seen);
  }
  transfers.finish();
}

}  // namespace hashevict
