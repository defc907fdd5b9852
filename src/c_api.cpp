// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include "backend/backend.hpp"
#include "backend/registry.hpp"
#include "backend/snapshot.hpp"
#include "core/failure.hpp"
#include "core/projection.hpp"
#include "core/versioned.hpp"
#include "hashevict/hashevict.h"

/// Every exported symbol: validate, dispatch to the backend, turn failures into a status and a message.

struct hashevict_cache {
  std::unique_ptr<hashevict::Backend> backend;
};

namespace {

using hashevict::Backend;
using hashevict::core::fail;
using hashevict::core::Failure;
using hashevict::core::LayerState;
using hashevict::core::Operation;
using hashevict::core::require;
using hashevict::core::Settings;
using hashevict::core::Storage;
using hashevict::core::TensorSpec;
using hashevict::core::TensorView;

hashevict_status report(hashevict_error* error, hashevict_status status, const char* message) noexcept {
  if (error != nullptr) std::snprintf(error->message, sizeof error->message, "%s", message);
  return status;
}

/// Runs `body`; no exception leaves the library.
template <class Body>
hashevict_status guarded(hashevict_error* error, const Body& body) noexcept {
  try {
    body();
    return HASHEVICT_OK;
  } catch (const Failure& failure) {
    return report(error, failure.status(), failure.what());
  } catch (const std::bad_alloc&) {
    return report(error, HASHEVICT_OUT_OF_MEMORY, "out of memory: expected a smaller cache or more memory");
  } catch (const std::system_error& failure) {
    return report(error, HASHEVICT_BACKEND_ERROR, failure.what());
  } catch (const std::exception& failure) {
    return report(error, HASHEVICT_INTERNAL, failure.what());
  } catch (...) {
    return report(error, HASHEVICT_INTERNAL, "an unknown exception");
  }
}

Backend& backend_of(const hashevict_cache* cache) {
  require(cache != nullptr, "cache = NULL: expected a cache");
  return *cache->backend;
}

void run_step(hashevict_cache* cache, const hashevict_step* given, Operation operation, hashevict_stream stream) {
  Backend& backend = backend_of(cache);
  const hashevict::core::Step step = hashevict::core::validate_step(given, backend.storage().settings, operation);
  switch (operation) {
    case Operation::prefill:
      return backend.prefill(step, stream);
    case Operation::evict:
      return backend.evict(step, stream);
    case Operation::append:
      return backend.append(step, stream);
    case Operation::attend:
      return backend.attend(step, stream);
    case Operation::decode:
      return backend.decode(step, stream);
  }
}

Settings resolve_config(const hashevict_config* config) {
  Settings settings = hashevict::core::validate_config(config);
  settings.config.backend = hashevict::find_backend(settings.config.backend).id;
  return settings;
}

hashevict_bytes measure(const Settings& settings) {
  const auto layout = hashevict::core::lay_out_state(settings);
  hashevict_bytes bytes{};
  for (int32_t layer = 0; layer < settings.config.num_layers; ++layer) {
    if (settings.config.layout != HASHEVICT_LAYOUT_PAGED) {
      bytes.keys += hashevict::core::dense_kv_bytes(settings, layer);
    }
  }
  bytes.values = bytes.keys;
  bytes.codes = layout.code_bytes;
  bytes.positions = layout.position_bytes;
  bytes.state = layout.total_bytes;
  bytes.workspace = hashevict::find_backend(settings.config.backend).workspace_bytes(settings);
  bytes.total = bytes.keys + bytes.values + bytes.state + bytes.workspace;
  constexpr uint64_t kMaxBytes = uint64_t{1} << 62;
  require(bytes.keys < kMaxBytes && bytes.total < kMaxBytes,
          "config: the cache would take more than 2^62 bytes: expected smaller num_layers, num_sequences, num_kv_heads "
          "or capacity");
  return bytes;
}

/// Whether no sequence (or not `sequence`) holds tokens in a layer. Waits for the device.
bool is_empty(Backend& backend, int32_t layer, int32_t sequence) {
  const Storage& storage = backend.storage();
  std::vector<int32_t> seen(static_cast<std::size_t>(storage.settings.sequences()));
  backend.read(seen.data(), storage.layer_state(layer).tokens_seen, seen.size() * sizeof(int32_t), nullptr);
  if (sequence >= 0) return seen[static_cast<std::size_t>(sequence)] == 0;
  return std::all_of(seen.begin(), seen.end(), [](int32_t tokens) { return tokens == 0; });
}

/// Checks a projection tensor; its leading dimension is absent where one projection serves all heads.
TensorView validate_projection(const hashevict_tensor* tensor, const Settings& settings, bool written) {
  require(tensor != nullptr && tensor->data != nullptr, "projection = NULL: expected a tensor");
  const hashevict_config& c = settings.config;
  TensorSpec spec{"projection", false, hashevict::core::DType::float32, {}, written};
  if (c.projection_per_head != 0) {
    spec.shape = {c.num_kv_heads, c.hash_bits, c.head_dim};
  } else {
    spec.shape = {c.hash_bits, c.head_dim, hashevict::core::kNoDim};
  }
  return hashevict::core::validate_tensor(*tensor, spec);
}

/// Address of entry [projection, bit, element] of a tensor that validate_projection() passed.
float* projection_entry(const TensorView& view, bool per_head, int32_t projection, int32_t bit, int32_t element) {
  auto* const data = reinterpret_cast<float*>(view.data);
  if (per_head) return data + projection * view.stride[0] + bit * view.stride[1] + element * view.stride[2];
  return data + bit * view.stride[0] + element * view.stride[1];
}

/// Calls `visit(tensor_entry, transposed_index)` for every entry of a projection.
template <class Visit>
void visit_projection(const TensorView& view, const Settings& settings, const Visit& visit) {
  const hashevict_config& c = settings.config;
  for (int32_t p = 0; p < settings.num_projections; ++p) {
    for (int32_t bit = 0; bit < c.hash_bits; ++bit) {
      for (int32_t e = 0; e < c.head_dim; ++e) {
        const auto index =
            (static_cast<std::size_t>(p) * static_cast<std::size_t>(c.head_dim) + static_cast<std::size_t>(e)) *
                static_cast<std::size_t>(c.hash_bits) +
            static_cast<std::size_t>(bit);
        visit(projection_entry(view, c.projection_per_head != 0, p, bit, e), index);
      }
    }
  }
}

std::size_t projection_floats(const Settings& settings) {
  return static_cast<std::size_t>(settings.num_projections) * static_cast<std::size_t>(settings.config.head_dim) *
         static_cast<std::size_t>(settings.config.hash_bits);
}

void write_center(Backend& backend, const hashevict_tensor* tensor, const char* name, int32_t heads, float* target) {
  require(tensor != nullptr && tensor->data != nullptr, "{} = NULL: expected a tensor", name);
  const int32_t dim = backend.storage().settings.config.head_dim;
  const TensorView view = hashevict::core::validate_tensor(
      *tensor, {name, false, hashevict::core::DType::float32, {heads, dim, hashevict::core::kNoDim}, false});
  if (target == nullptr) return;
  std::vector<float> dense;
  dense.reserve(static_cast<std::size_t>(heads) * static_cast<std::size_t>(dim));
  for (int32_t head = 0; head < heads; ++head) {
    for (int32_t e = 0; e < dim; ++e) dense.push_back(*reinterpret_cast<const float*>(view.at(head, e)));
  }
  backend.write(target, dense.data(), dense.size() * sizeof(float), nullptr);
}

hashevict_tensor make_tensor(void* data, hashevict::core::DType dtype, std::initializer_list<int64_t> shape,
                             std::initializer_list<int64_t> stride) {
  hashevict_tensor tensor{};
  tensor.data = data;
  tensor.dtype = static_cast<int32_t>(dtype);
  tensor.rank = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape);
  std::copy(stride.begin(), stride.end(), tensor.stride);
  return tensor;
}

hashevict_tensor kv_tensor(const Storage& storage, int32_t layer, void* base) {
  const hashevict_config& c = storage.settings.config;
  const auto& layout = storage.kv_layout(layer);
  if (c.layout == HASHEVICT_LAYOUT_PAGED) {
    return make_tensor(base, storage.settings.dtype,
                       {storage.memory.num_pages, c.num_kv_heads, c.page_size, c.head_dim},
                       {layout.page_stride, layout.head_stride, layout.slot_stride, 1});
  }
  return make_tensor(base, storage.settings.dtype,
                     {c.num_sequences, c.num_kv_heads, storage.layer_settings(layer).capacity, c.head_dim},
                     {layout.sequence_stride, layout.head_stride, layout.slot_stride, 1});
}

hashevict_view make_view(const Storage& storage, int32_t layer) {
  using hashevict::core::DType;
  const hashevict_config& c = storage.settings.config;
  const LayerState& state = storage.layer_state(layer);
  const int64_t capacity = storage.layer_settings(layer).capacity;
  const int64_t padded = storage.layer_settings(layer).padded_capacity;
  const int64_t heads = c.num_kv_heads;
  const int64_t bytes = storage.settings.code_bytes;
  hashevict_view view{};
  view.keys = kv_tensor(storage, layer, storage.keys(layer));
  view.values = kv_tensor(storage, layer, storage.values(layer));
  view.codes = make_tensor(state.codes, DType::uint8, {c.num_sequences, heads, capacity, bytes},
                           {heads * padded * bytes, padded * bytes, bytes, 1});
  view.positions =
      make_tensor(state.positions, DType::int32, {c.num_sequences, heads, capacity}, {heads * padded, padded, 1});
  view.lengths = make_tensor(state.lengths, DType::int32, {c.num_sequences}, {1});
  view.tokens_seen = make_tensor(state.tokens_seen, DType::int32, {c.num_sequences}, {1});
  return view;
}

/// Adds one layer's sequences [first, end) to the totals.
void add_statistics(Backend& backend, int32_t layer, int32_t first, int32_t end, hashevict_stream stream,
                    hashevict_statistics& totals) {
  const Storage& storage = backend.storage();
  const LayerState& state = storage.layer_state(layer);
  for (int32_t sequence = first; sequence < end; ++sequence) {
    int32_t seen = 0;
    int32_t length = 0;
    backend.read(&seen, state.tokens_seen + sequence, sizeof seen, stream);
    backend.read(&length, state.lengths + sequence, sizeof length, stream);
    totals.tokens_seen += seen;
    totals.slots_used += length;
    totals.slots_total += storage.layer_settings(layer).capacity;
  }
}

void describe_library(hashevict_capabilities& c) {
  c.version_major = HASHEVICT_VERSION_MAJOR;
  c.version_minor = HASHEVICT_VERSION_MINOR;
  c.version_patch = HASHEVICT_VERSION_PATCH;
  c.max_head_dim = 256;
  c.num_hardware_threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  const auto bit = [](int index) { return uint32_t{1} << index; };
  for (int log2 = 3; log2 <= 7; ++log2) c.hash_bits_mask |= bit(log2);
  for (int policy = HASHEVICT_POLICY_HASH; policy <= HASHEVICT_POLICY_SUPERSEDED; ++policy)
    c.policy_mask |= bit(policy);
  for (int mode = HASHEVICT_PREFILL_REPLAY; mode <= HASHEVICT_PREFILL_RECENT; ++mode) c.prefill_mode_mask |= bit(mode);
  for (int layout = HASHEVICT_LAYOUT_HEAD_MAJOR; layout <= HASHEVICT_LAYOUT_PAGED; ++layout) {
    c.layout_mask |= bit(layout);
  }
  c.storage_dtype_mask = bit(HASHEVICT_FLOAT32) | bit(HASHEVICT_FLOAT16) | bit(HASHEVICT_BFLOAT16);
}

}  // namespace

extern "C" {

const char* hashevict_status_name(hashevict_status status) {
  switch (status) {
    case HASHEVICT_OK:
      return "ok";
    case HASHEVICT_INVALID_ARGUMENT:
      return "invalid_argument";
    case HASHEVICT_INVALID_STATE:
      return "invalid_state";
    case HASHEVICT_UNSUPPORTED:
      return "unsupported";
    case HASHEVICT_OUT_OF_MEMORY:
      return "out_of_memory";
    case HASHEVICT_INVALID_DATA:
      return "invalid_data";
    case HASHEVICT_BACKEND_ERROR:
      return "backend_error";
    case HASHEVICT_INTERNAL:
      return "internal";
  }
  return "unknown";
}

void hashevict_config_init(hashevict_config* config) {
  if (config == nullptr) return;
  *config = hashevict_config{};
  config->struct_size = sizeof(hashevict_config);
  config->num_sequences = 1;
  config->dtype = HASHEVICT_BFLOAT16;
  config->page_size = 16;
  static_cast<void>(hashevict_config_apply_preset(config, HASHEVICT_PRESET_PAPER, nullptr));
}

hashevict_status hashevict_config_apply_preset(hashevict_config* config, hashevict_preset preset,
                                               hashevict_error* error) {
  return guarded(error, [&] {
    require(config != nullptr, "config = NULL: expected a pointer");
    require(preset >= HASHEVICT_PRESET_PAPER && preset <= HASHEVICT_PRESET_SUPERSEDED,
            "preset = {}: expected PAPER (0), AUTHORS (1) or SUPERSEDED (2)", static_cast<int>(preset));
    config->policy = HASHEVICT_POLICY_HASH;
    config->hash_bits = 16;
    config->hash_source = HASHEVICT_HASH_SOURCE_QUERY;
    config->tie = HASHEVICT_TIE_OLDEST;
    config->num_sink_tokens = 4;
    config->recent_window = 10;
    config->sink_fraction = -1.0F;
    config->recent_fraction = -1.0F;
    config->pin_prompt = 0;
    config->score_decay_shift = 0;
    config->centering = HASHEVICT_CENTERING_NONE;
    if (preset == HASHEVICT_PRESET_AUTHORS) {
      config->hash_source = HASHEVICT_HASH_SOURCE_KEY;
      config->tie = HASHEVICT_TIE_LOWEST_SLOT;
    }
    if (preset == HASHEVICT_PRESET_SUPERSEDED) {
      config->policy = HASHEVICT_POLICY_SUPERSEDED;
      config->hash_bits = 64;
      config->recent_fraction = 0.5F;
    }
  });
}

void hashevict_memory_init(hashevict_memory* memory) {
  if (memory == nullptr) return;
  *memory = hashevict_memory{};
  memory->struct_size = sizeof(hashevict_memory);
}

void hashevict_step_init(hashevict_step* step) {
  if (step == nullptr) return;
  *step = hashevict_step{};
  step->struct_size = sizeof(hashevict_step);
  step->prefill_mode = HASHEVICT_PREFILL_REPLAY;
  step->prefill_window = 32;
}

hashevict_status hashevict_required_bytes(const hashevict_config* config, hashevict_bytes* bytes,
                                          hashevict_error* error) {
  return guarded(error, [&] { hashevict::core::write_versioned(measure(resolve_config(config)), bytes, "bytes"); });
}

hashevict_status hashevict_cache_create(const hashevict_config* config, const hashevict_memory* memory,
                                        hashevict_cache** cache, hashevict_error* error) {
  if (cache != nullptr) *cache = nullptr;
  return guarded(error, [&] {
    require(cache != nullptr, "cache = NULL: expected a place for the handle");
    Settings settings = resolve_config(config);
    static_cast<void>(measure(settings));  // refuses sizes that no address space holds
    const auto& entry = hashevict::find_backend(settings.config.backend);
    auto created = std::make_unique<hashevict_cache>();
    created->backend = entry.create(std::move(settings), memory);
    *cache = created.release();
  });
}

void hashevict_cache_destroy(hashevict_cache* cache) {
  delete cache;
}

hashevict_status hashevict_get_config(const hashevict_cache* cache, hashevict_config* config, hashevict_error* error) {
  return guarded(
      error, [&] { hashevict::core::write_versioned(backend_of(cache).storage().settings.config, config, "config"); });
}

hashevict_status hashevict_set_projection(hashevict_cache* cache, int32_t layer, const hashevict_tensor* projection,
                                          hashevict_error* error) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Settings& settings = backend.storage().settings;
    hashevict::core::validate_layer(settings, layer);
    const TensorView view = validate_projection(projection, settings, false);
    if (!is_empty(backend, layer, -1)) {
      fail(HASHEVICT_INVALID_STATE, "set_projection: layer {} holds tokens: expected empty sequences (reset first)",
           layer);
    }
    std::vector<float> transposed(projection_floats(settings));
    visit_projection(view, settings, [&](const float* entry, std::size_t index) { transposed[index] = *entry; });
    backend.write(backend.storage().layer_state(layer).projection, transposed.data(), transposed.size() * sizeof(float),
                  nullptr);
  });
}

hashevict_status hashevict_get_projection(const hashevict_cache* cache, int32_t layer,
                                          const hashevict_tensor* projection, hashevict_error* error) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Settings& settings = backend.storage().settings;
    hashevict::core::validate_layer(settings, layer);
    const TensorView view = validate_projection(projection, settings, true);
    std::vector<float> transposed(projection_floats(settings));
    backend.read(transposed.data(), backend.storage().layer_state(layer).projection, transposed.size() * sizeof(float),
                 nullptr);
    visit_projection(view, settings, [&](float* entry, std::size_t index) { *entry = transposed[index]; });
  });
}

hashevict_status hashevict_set_center(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                      const hashevict_tensor* key_center, const hashevict_tensor* query_center,
                                      hashevict_error* error) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Settings& settings = backend.storage().settings;
    const hashevict_config& c = settings.config;
    hashevict::core::validate_layer(settings, layer);
    hashevict::core::validate_sequence(settings, sequence, "sequence");
    require(settings.centered(), "set_center: config.centering = {}: expected PROMPT (1) or FIXED (2)", c.centering);
    write_center(backend, key_center, "key_center", c.num_kv_heads, nullptr);  // checks both before writing either
    write_center(backend, query_center, "query_center", c.num_qo_heads, nullptr);
    if (!is_empty(backend, layer, sequence)) {
      fail(HASHEVICT_INVALID_STATE, "set_center: sequence {} holds tokens in layer {}: expected an empty one", sequence,
           layer);
    }
    const LayerState& state = backend.storage().layer_state(layer);
    const int64_t keys = int64_t{sequence} * c.num_kv_heads * c.head_dim;
    const int64_t queries = int64_t{sequence} * c.num_qo_heads * c.head_dim;
    write_center(backend, key_center, "key_center", c.num_kv_heads, state.key_centers + keys);
    write_center(backend, query_center, "query_center", c.num_qo_heads, state.query_centers + queries);
    const int32_t given = hashevict::core::kCenterGiven;
    backend.write(state.center_set + sequence, &given, sizeof given, nullptr);
  });
}

hashevict_status hashevict_prefill(hashevict_cache* cache, const hashevict_step* step, hashevict_error* error,
                                   hashevict_stream stream) {
  return guarded(error, [&] { run_step(cache, step, Operation::prefill, stream); });
}

hashevict_status hashevict_evict(hashevict_cache* cache, const hashevict_step* step, hashevict_error* error,
                                 hashevict_stream stream) {
  return guarded(error, [&] { run_step(cache, step, Operation::evict, stream); });
}

hashevict_status hashevict_append(hashevict_cache* cache, const hashevict_step* step, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run_step(cache, step, Operation::append, stream); });
}

hashevict_status hashevict_attend(hashevict_cache* cache, const hashevict_step* step, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run_step(cache, step, Operation::attend, stream); });
}

hashevict_status hashevict_decode(hashevict_cache* cache, const hashevict_step* step, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run_step(cache, step, Operation::decode, stream); });
}

hashevict_status hashevict_encode(hashevict_cache* cache, int32_t layer, int32_t sequence, hashevict_encode_as as,
                                  const hashevict_tensor* x, const hashevict_tensor* codes, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Settings& settings = backend.storage().settings;
    hashevict::core::validate_layer(settings, layer);
    hashevict::core::validate_sequence(settings, sequence, "sequence");
    require(as == HASHEVICT_ENCODE_KEYS || as == HASHEVICT_ENCODE_QUERIES, "as = {}: expected KEYS (0) or QUERIES (1)",
            static_cast<int>(as));
    require(x != nullptr && x->data != nullptr, "x = NULL: expected a tensor");
    require(codes != nullptr && codes->data != nullptr, "codes = NULL: expected a tensor");
    require(x->rank == 3, "x.rank = {}: expected 3", x->rank);
    require(x->shape[0] >= 0, "x.shape[0] = {}: expected a number of tokens", x->shape[0]);
    const bool queries = as == HASHEVICT_ENCODE_QUERIES;
    const int64_t heads = queries ? settings.config.num_qo_heads : settings.config.num_kv_heads;
    const int64_t tokens = x->shape[0];
    backend.encode(
        {.layer = layer,
         .sequence = sequence,
         .queries = queries,
         .tokens = tokens,
         .x = hashevict::core::validate_tensor(*x, {"x", true, {}, {tokens, heads, settings.config.head_dim}, false}),
         .codes = hashevict::core::validate_tensor(
             *codes, {"codes", false, hashevict::core::DType::uint8, {tokens, heads, settings.code_bytes}, true})},
        stream);
  });
}

hashevict_status hashevict_reset(hashevict_cache* cache, int32_t sequence, hashevict_error* error,
                                 hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    if (sequence != -1) {
      hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence");
      return backend.reset(sequence, stream);
    }
    for (int32_t i = 0; i < backend.storage().settings.config.num_sequences; ++i) backend.reset(i, stream);
  });
}

hashevict_status hashevict_fork(hashevict_cache* cache, int32_t source, int32_t target, hashevict_error* error,
                                hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_sequence(backend.storage().settings, source, "source");
    hashevict::core::validate_sequence(backend.storage().settings, target, "target");
    require(source != target, "target = {}: expected a sequence other than the source", target);
    backend.fork(source, target, stream);
  });
}

hashevict_status hashevict_save_bytes(const hashevict_cache* cache, uint64_t* bytes, hashevict_error* error) {
  return guarded(error, [&] {
    const Backend& backend = backend_of(cache);
    require(bytes != nullptr, "bytes = NULL: expected a pointer");
    *bytes = hashevict::snapshot_bytes(backend.storage());
  });
}

hashevict_status hashevict_save(hashevict_cache* cache, int32_t sequence, void* buffer, uint64_t buffer_bytes,
                                uint64_t* written, hashevict_error* error, hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence");
    require(buffer != nullptr, "buffer = NULL: expected a pointer");
    require(written != nullptr, "written = NULL: expected a pointer");
    *written = hashevict::save_snapshot(backend, sequence, {static_cast<std::byte*>(buffer), buffer_bytes}, stream);
  });
}

hashevict_status hashevict_load(hashevict_cache* cache, int32_t sequence, const void* buffer, uint64_t buffer_bytes,
                                hashevict_error* error, hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence");
    require(buffer != nullptr, "buffer = NULL: expected a pointer");
    hashevict::load_snapshot(backend, sequence, {static_cast<const std::byte*>(buffer), buffer_bytes}, stream);
  });
}

hashevict_status hashevict_get_view(const hashevict_cache* cache, int32_t layer, hashevict_view* view,
                                    hashevict_error* error) {
  return guarded(error, [&] {
    const Storage& storage = backend_of(cache).storage();
    hashevict::core::validate_layer(storage.settings, layer);
    hashevict::core::write_versioned(make_view(storage, layer), view, "view");
  });
}

hashevict_status hashevict_get_statistics(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                          hashevict_statistics* statistics, hashevict_error* error,
                                          hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Settings& settings = backend.storage().settings;
    if (layer != -1) hashevict::core::validate_layer(settings, layer);
    if (sequence != -1) hashevict::core::validate_sequence(settings, sequence, "sequence");
    const int32_t first_layer = layer == -1 ? 0 : layer;
    const int32_t end_layer = layer == -1 ? settings.config.num_layers : layer + 1;
    const int32_t first = sequence == -1 ? 0 : sequence;
    const int32_t end = sequence == -1 ? settings.config.num_sequences : sequence + 1;
    hashevict_statistics totals{};
    for (int32_t i = first_layer; i < end_layer; ++i) add_statistics(backend, i, first, end, stream, totals);
    totals.evictions = totals.tokens_seen - totals.slots_used;
    const uint64_t slot_bytes = 2 * static_cast<uint64_t>(settings.heads()) *
                                static_cast<uint64_t>(settings.config.head_dim) *
                                static_cast<uint64_t>(hashevict::core::size_of(settings.dtype));
    totals.kv_bytes = static_cast<uint64_t>(totals.slots_used) * slot_bytes;
    totals.kv_bytes_full = static_cast<uint64_t>(totals.tokens_seen) * slot_bytes;
    hashevict::core::write_versioned(totals, statistics, "statistics");
  });
}

hashevict_status hashevict_get_capabilities(hashevict_backend backend, hashevict_capabilities* capabilities,
                                            hashevict_error* error) {
  return guarded(error, [&] {
    hashevict_capabilities result{};
    const auto& entry = hashevict::find_backend(backend);
    describe_library(result);
    entry.describe(result);
    hashevict::core::write_versioned(result, capabilities, "capabilities");
  });
}

}  // extern "C"
