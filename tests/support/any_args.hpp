// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hashevict/cache.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace hashevict::test {

/// The arguments of every operation in one struct, under their own names, for tests that pass the same arguments to
/// several operations. Converts to the arguments of each.
struct AnyArgs {
  std::optional<std::size_t> struct_size;  ///< replaces the true size
  int32_t layer = 0;
  hashevict::Batch batch;
  Tensor q, k, v, out, lse, slots, victims;
  Tensor importance, importance_slope;
  Softmax softmax;
  int32_t mode = HASHEVICT_PREFILL_REPLAY;  ///< a number, so that tests can pass an invalid one
  int32_t window = 0;
  int32_t attention = HASHEVICT_PREFILL_FULL;  ///< the one that all modes and rules take
  int32_t queries = HASHEVICT_QUERIES_LAST;

  /// Copies the fields that `Args`, a struct of the C ABI or its twin, has.
  template <class Args>
  [[nodiscard]] Args as() const {
    Args args{};
    if constexpr (requires { args.struct_size; }) args.struct_size = struct_size.value_or(sizeof args);
    args.layer = layer;
    args.batch.row_to_sequence = batch.row_to_sequence;
    args.batch.cu_seqlens = batch.cu_seqlens;
    if constexpr (requires { args.q; }) args.q = q;
    if constexpr (requires { args.k; }) args.k = k;
    if constexpr (requires { args.v; }) args.v = v;
    if constexpr (requires { args.out; }) args.out = out;
    if constexpr (requires { args.lse; }) args.lse = lse;
    if constexpr (requires { args.slots; }) args.slots = slots;
    if constexpr (requires { args.victims; }) args.victims = victims;
    if constexpr (requires { args.importance; }) {
      args.importance = importance;
      args.importance_slope = importance_slope;
    }
    if constexpr (requires { args.softmax; }) static_cast<hashevict_softmax&>(args.softmax) = softmax;
    if constexpr (requires { args.mode; }) {
      args.mode = static_cast<decltype(args.mode)>(mode);
      args.window = window;
      args.attention = static_cast<decltype(args.attention)>(attention);
    }
    if constexpr (requires { args.queries; }) args.queries = static_cast<decltype(args.queries)>(queries);
    return args;
  }

  operator PrefillArgs() const { return as<PrefillArgs>(); }
  operator EvictArgs() const { return as<EvictArgs>(); }
  operator AppendArgs() const { return as<AppendArgs>(); }
  operator AttendArgs() const { return as<AttendArgs>(); }
  operator DecodeArgs() const { return as<DecodeArgs>(); }
};

/// An operation of the C ABI, called with AnyArgs.
using AnyOperation = hashevict_status (*)(hashevict_cache*, const AnyArgs*, hashevict_error*, hashevict_stream);

template <class Args, hashevict_status (*kOperation)(hashevict_cache*, const Args*, hashevict_error*, hashevict_stream)>
hashevict_status call_with(hashevict_cache* cache, const AnyArgs* any, hashevict_error* error,
                           hashevict_stream stream) {
  const Args args = any->as<Args>();
  return kOperation(cache, &args, error, stream);
}

inline constexpr AnyOperation any_prefill = call_with<hashevict_prefill_args, hashevict_prefill>;
inline constexpr AnyOperation any_evict = call_with<hashevict_evict_args, hashevict_evict>;
inline constexpr AnyOperation any_append = call_with<hashevict_append_args, hashevict_append>;
inline constexpr AnyOperation any_attend = call_with<hashevict_attend_args, hashevict_attend>;
inline constexpr AnyOperation any_decode = call_with<hashevict_decode_args, hashevict_decode>;

/// All of them.
inline constexpr std::array kAnyOperations{any_prefill, any_evict, any_append, any_attend, any_decode};

}  // namespace hashevict::test
