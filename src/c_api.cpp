// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.hpp"
#include "backend/inspection.hpp"
#include "backend/parameters.hpp"
#include "backend/registry.hpp"
#include "backend/snapshot.hpp"
#include "core/carver.hpp"
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
using hashevict::core::checked_sum;
using hashevict::core::Failure;
using hashevict::core::Operation;
using hashevict::core::require;
using hashevict::core::Settings;
using hashevict::core::Storage;

/// The number in an enum's place: C may put any there, while C++ may not even read one that the enum lacks.
template <class Enum>
int32_t number_in(const Enum& given) noexcept {
  int32_t number;
  static_assert(sizeof number == sizeof given);
  std::memcpy(&number, &given, sizeof number);
  return number;
}

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
      bytes.keys = checked_sum(bytes.keys, hashevict::core::dense_kv_bytes(settings, layer));
    }
  }
  bytes.values = bytes.keys;
  bytes.codes = layout.code_bytes;
  bytes.positions = layout.position_bytes;
  bytes.state = layout.total_bytes;
  bytes.workspace = hashevict::find_backend(settings.config.backend).workspace_bytes(settings);
  bytes.total = checked_sum(checked_sum(bytes.keys, bytes.values), checked_sum(bytes.state, bytes.workspace));
  return bytes;
}

void apply_preset(hashevict_config& config, int32_t preset) {
  config.policy = HASHEVICT_POLICY_HASH;
  config.hash_bits = 16;
  config.hash_source = HASHEVICT_HASH_SOURCE_QUERY;
  config.tie = HASHEVICT_TIE_OLDEST;
  config.num_sink_tokens = 4;
  config.recent_window = 10;
  config.sink_fraction = -1.0F;
  config.recent_fraction = -1.0F;
  config.pin_prompt = 0;
  config.score_decay_shift = 0;
  config.centering = HASHEVICT_CENTERING_NONE;
  config.projection_per_head = 0;
  if (preset == HASHEVICT_PRESET_AUTHORS) {
    config.hash_source = HASHEVICT_HASH_SOURCE_KEY;
    config.tie = HASHEVICT_TIE_LOWEST_SLOT;
  }
  if (preset == HASHEVICT_PRESET_SUPERSEDED) {
    config.policy = HASHEVICT_POLICY_SUPERSEDED;
    config.hash_bits = 64;
    config.recent_fraction = 0.5F;
  }
  if (preset == HASHEVICT_PRESET_RECALL) {
    config.policy = HASHEVICT_POLICY_MAJORITY;
    config.hash_bits = 32;
    config.recent_fraction = 0.2F;
    config.centering = HASHEVICT_CENTERING_FIXED;
    config.projection_per_head = 1;
  }
}

hashevict_config default_config() {
  hashevict_config config{};
  config.num_sequences = 1;
  config.dtype = HASHEVICT_BFLOAT16;
  config.page_size = 16;
  apply_preset(config, HASHEVICT_PRESET_PAPER);
  return config;
}

}  // namespace

extern "C" {

const char* hashevict_status_name(hashevict_status status) {
  switch (number_in(status)) {
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

hashevict_status hashevict_config_init_sized(hashevict_config* config, size_t struct_size, hashevict_error* error) {
  return guarded(error, [&] { hashevict::core::write_sized(default_config(), config, struct_size, "config"); });
}

hashevict_status hashevict_config_apply_preset(hashevict_config* config, hashevict_preset preset,
                                               hashevict_error* error) {
  return guarded(error, [&] {
    hashevict_config changed = hashevict::core::read_versioned(config, "config");
    const int32_t number = number_in(preset);
    require(number >= HASHEVICT_PRESET_PAPER && number <= HASHEVICT_PRESET_RECALL,
            "preset = {}: expected PAPER (0), AUTHORS (1), SUPERSEDED (2) or RECALL (3)", number);
    apply_preset(changed, number);
    hashevict::core::write_versioned(changed, config, "config");
  });
}

hashevict_status hashevict_memory_init_sized(hashevict_memory* memory, size_t struct_size, hashevict_error* error) {
  return guarded(error, [&] { hashevict::core::write_sized(hashevict_memory{}, memory, struct_size, "memory"); });
}

hashevict_status hashevict_step_init_sized(hashevict_step* step, size_t struct_size, hashevict_error* error) {
  return guarded(error, [&] {
    hashevict_step defaults{};
    defaults.prefill_mode = HASHEVICT_PREFILL_REPLAY;
    defaults.prefill_window = 32;
    hashevict::core::write_sized(defaults, step, struct_size, "step");
  });
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
  return guarded(error, [&] { hashevict::set_projection(backend_of(cache), layer, projection); });
}

hashevict_status hashevict_get_projection(const hashevict_cache* cache, int32_t layer,
                                          const hashevict_tensor* projection, hashevict_error* error) {
  return guarded(error, [&] { hashevict::get_projection(backend_of(cache), layer, projection); });
}

hashevict_status hashevict_set_center(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                      const hashevict_tensor* key_center, const hashevict_tensor* query_center,
                                      hashevict_error* error) {
  return guarded(error, [&] { hashevict::set_center(backend_of(cache), layer, sequence, key_center, query_center); });
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
    const int32_t number = number_in(as);
    require(number == HASHEVICT_ENCODE_KEYS || number == HASHEVICT_ENCODE_QUERIES,
            "as = {}: expected KEYS (0) or QUERIES (1)", number);
    require(x != nullptr && hashevict::core::present(*x), "x = NULL: expected a tensor");
    require(codes != nullptr && hashevict::core::present(*codes), "codes = NULL: expected a tensor");
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
    hashevict::core::write_versioned(hashevict::make_view(storage, layer), view, "view");
  });
}

hashevict_status hashevict_get_statistics(hashevict_cache* cache, int32_t layer, int32_t sequence,
                                          hashevict_statistics* statistics, hashevict_error* error,
                                          hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    if (layer != -1) hashevict::core::validate_layer(backend.storage().settings, layer);
    if (sequence != -1) hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence");
    hashevict::core::write_versioned(hashevict::make_statistics(backend, layer, sequence, stream), statistics,
                                     "statistics");
  });
}

hashevict_status hashevict_get_capabilities(hashevict_backend backend, hashevict_capabilities* capabilities,
                                            hashevict_error* error) {
  return guarded(error, [&] {
    static_cast<void>(hashevict::find_backend(number_in(backend)));  // fails where it cannot be had
    hashevict_capabilities result = hashevict::library_capabilities();
    hashevict::describe_backends(result);
    hashevict::core::write_versioned(result, capabilities, "capabilities");
  });
}

}  // extern "C"
