// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "backend/backend.hpp"
#include "backend/encoder.hpp"
#include "backend/importance.hpp"
#include "backend/inspection.hpp"
#include "backend/registry.hpp"
#include "backend/requirements.hpp"
#include "backend/snapshot.hpp"
#include "core/divide_slots.hpp"
#include "core/failure.hpp"
#include "core/presets.hpp"
#include "core/validate.hpp"
#include "core/versioned.hpp"
#include "hashevict/hashevict.h"

/// Every exported symbol. Each validates, dispatches to the backend and turns failures into a status and a message.

struct hashevict_cache {
  std::unique_ptr<hashevict::Backend> backend;
};

namespace {

using hashevict::Backend;
using hashevict::core::Failure;
using hashevict::core::kAll;
using hashevict::core::Settings;
using hashevict::core::Step;
using hashevict::core::Storage;
using hashevict::core::write_versioned;

/// Reads an enum as a number. C callers may store any value there, and C++ must not read one that the enum lacks.
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
  hashevict::core::require(cache != nullptr, "cache = NULL: expected a cache");
  return *cache->backend;
}

/// Runs an operation on a batch. Operations that take keys compute codes, so they require a projection.
template <class Args>
void run(hashevict_cache* cache, const Args* args, void (Backend::*operation)(const Step&, hashevict_stream),
         const char* name, hashevict_stream stream) {
  Backend& backend = backend_of(cache);
  const Storage& storage = backend.storage();
  const Step step = hashevict::core::validate_args(args, storage.settings, storage.own);
  if constexpr (requires { args->k; }) {
    hashevict::require_projection(backend, step.layer, name);
    hashevict::require_importance_weights(backend, step.layer, name);
  }
  (backend.*operation)(step, stream);
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
  return guarded(
      error, [&] { hashevict::core::write_sized(hashevict::core::default_config(), config, struct_size, "config"); });
}

hashevict_status hashevict_rule_preset(hashevict_rule* rule, hashevict_preset preset, hashevict_error* error) {
  return guarded(error, [&] {
    hashevict::core::validate_pointer(rule, "rule");
    *rule = hashevict::core::preset_rule(number_in(preset));
  });
}

hashevict_status hashevict_divide_slots(const hashevict_tensor* quantiles, int64_t total_slots, int32_t length,
                                        int32_t floor, int32_t* capacities, hashevict_error* error) {
  return guarded(error, [&] {
    hashevict::core::divide_slots(
        hashevict::core::validate_division(quantiles, total_slots, length, floor, capacities));
  });
}

hashevict_status hashevict_required_bytes(const hashevict_config* config, hashevict_bytes* bytes,
                                          hashevict_error* error) {
  return guarded(
      error, [&] { write_versioned(hashevict::required_bytes(hashevict::resolve_config(config)), bytes, "bytes"); });
}

hashevict_status hashevict_cache_create(const hashevict_config* config, const hashevict_memory* memory,
                                        hashevict_cache** cache, hashevict_error* error) {
  if (cache != nullptr) *cache = nullptr;
  return guarded(error, [&] {
    hashevict::core::require(cache != nullptr, "cache = NULL: expected a place for the handle");
    Settings settings = hashevict::resolve_config(config);
    static_cast<void>(hashevict::required_bytes(settings));  // fails if a size exceeds any address space
    const auto& entry = hashevict::find_backend(settings.placement.backend, settings.placement.device);
    auto created = std::make_unique<hashevict_cache>();
    created->backend = entry.create(std::move(settings), memory);
    *cache = created.release();
  });
}

void hashevict_cache_destroy(hashevict_cache* cache) {
  delete cache;
}

hashevict_status hashevict_get_config(const hashevict_cache* cache, hashevict_config* config, hashevict_error* error) {
  return guarded(error, [&] { write_versioned(backend_of(cache).storage().settings.config, config, "config"); });
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

hashevict_status hashevict_set_importance_weights(hashevict_cache* cache, int32_t layer, const hashevict_tensor* weight,
                                                  const hashevict_tensor* bias, hashevict_error* error) {
  return guarded(error, [&] { hashevict::set_importance_weights(backend_of(cache), layer, weight, bias); });
}

hashevict_status hashevict_prefill(hashevict_cache* cache, const hashevict_prefill_args* args, hashevict_error* error,
                                   hashevict_stream stream) {
  return guarded(error, [&] { run(cache, args, &Backend::prefill, "prefill", stream); });
}

hashevict_status hashevict_evict(hashevict_cache* cache, const hashevict_evict_args* args, hashevict_error* error,
                                 hashevict_stream stream) {
  return guarded(error, [&] { run(cache, args, &Backend::evict, "evict", stream); });
}

hashevict_status hashevict_append(hashevict_cache* cache, const hashevict_append_args* args, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run(cache, args, &Backend::append, "append", stream); });
}

hashevict_status hashevict_attend(hashevict_cache* cache, const hashevict_attend_args* args, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run(cache, args, &Backend::attend, "attend", stream); });
}

hashevict_status hashevict_decode(hashevict_cache* cache, const hashevict_decode_args* args, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] { run(cache, args, &Backend::decode, "decode", stream); });
}

hashevict_status hashevict_encode(hashevict_cache* cache, int32_t layer, int32_t sequence, hashevict_encode_as as,
                                  const hashevict_tensor* x, const hashevict_tensor* codes, hashevict_error* error,
                                  hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Storage& storage = backend.storage();
    const auto arguments =
        hashevict::core::validate_encode(storage.settings, storage.own, layer, sequence, number_in(as), x, codes);
    hashevict::require_projection(backend, layer, "encode");
    backend.encode(arguments, stream);
  });
}

hashevict_status hashevict_reset(hashevict_cache* cache, int32_t sequence, hashevict_error* error,
                                 hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence", kAll);
    backend.reset(sequence, stream);
  });
}

hashevict_status hashevict_fork(hashevict_cache* cache, int32_t source, int32_t target, hashevict_error* error,
                                hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_fork(backend.storage().settings, source, target);
    backend.fork(source, target, stream);
  });
}

hashevict_status hashevict_save_bytes(const hashevict_cache* cache, uint64_t* bytes, hashevict_error* error) {
  return guarded(error, [&] {
    const Backend& backend = backend_of(cache);
    hashevict::core::validate_pointer(bytes, "bytes");
    *bytes = hashevict::snapshot_bytes(backend.storage());
  });
}

hashevict_status hashevict_save(hashevict_cache* cache, int32_t sequence, void* buffer, uint64_t buffer_bytes,
                                uint64_t* written, hashevict_error* error, hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Storage& storage = backend.storage();
    hashevict::core::validate_save(storage.settings, storage.own, sequence, buffer, buffer_bytes,
                                   hashevict::snapshot_bytes(storage), written);
    *written = hashevict::save_snapshot(backend, sequence, {static_cast<std::byte*>(buffer), buffer_bytes}, stream);
  });
}

hashevict_status hashevict_load(hashevict_cache* cache, int32_t sequence, const void* buffer, uint64_t buffer_bytes,
                                hashevict_error* error, hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    const Storage& storage = backend.storage();
    hashevict::core::validate_load(storage.settings, storage.own, sequence, buffer, buffer_bytes,
                                   hashevict::snapshot_bytes(storage));
    hashevict::load_snapshot(backend, sequence, {static_cast<const std::byte*>(buffer), buffer_bytes}, stream);
  });
}

hashevict_status hashevict_get_view(const hashevict_cache* cache, int32_t layer, int32_t kv_head, hashevict_view* view,
                                    hashevict_error* error) {
  return guarded(error, [&] {
    const Storage& storage = backend_of(cache).storage();
    hashevict::core::validate_layer(storage.settings, layer);
    hashevict::core::validate_kv_head(storage.settings, kv_head);
    write_versioned(hashevict::make_view(storage, layer, kv_head), view, "view");
  });
}

hashevict_status hashevict_get_statistics(hashevict_cache* cache, int32_t layer, int32_t kv_head, int32_t sequence,
                                          hashevict_statistics* statistics, hashevict_error* error,
                                          hashevict_stream stream) {
  return guarded(error, [&] {
    Backend& backend = backend_of(cache);
    hashevict::core::validate_layer(backend.storage().settings, layer, kAll);
    hashevict::core::validate_kv_head(backend.storage().settings, kv_head, kAll);
    hashevict::core::validate_sequence(backend.storage().settings, sequence, "sequence", kAll);
    write_versioned(hashevict::make_statistics(backend, layer, kv_head, sequence, stream), statistics, "statistics");
  });
}

hashevict_status hashevict_get_capabilities(hashevict_backend backend, hashevict_capabilities* capabilities,
                                            hashevict_error* error) {
  return guarded(error, [&] {
    static_cast<void>(hashevict::find_backend(number_in(backend), hashevict::kAnyDevice));  // fails if unavailable
    hashevict_capabilities result = hashevict::library_capabilities();
    hashevict::describe_backends(result);
    write_versioned(result, capabilities, "capabilities");
  });
}

}  // extern "C"
