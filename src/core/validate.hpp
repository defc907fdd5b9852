// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "core/footprint.hpp"
#include "core/kv_layout.hpp"
#include "core/layer.hpp"
#include "core/page_set.hpp"
#include "core/settings.hpp"
#include "core/step.hpp"
#include "hashevict/hashevict.h"

/// One validator per kind of argument. Each throws Failure with a message of the form "argument = value: expected ...".
/// None changes any state.
namespace hashevict::core {

/// Checks a config and resolves defaults and fractions. The backend is left unresolved.
Settings validate_config(const hashevict_config* given);

/// Checked memory that the caller lends to a cache. Absent parts are null.
struct CacheMemory {
  std::vector<void*> keys, values;    ///< [num_layers]; empty if the cache allocates them
  std::vector<KvLayout> layouts;      ///< [num_layers]
  std::vector<int64_t> head_offsets;  ///< [num_layers, num_kv_heads] bytes to a head's slot 0 in its sequence or page
  BlockTable table;                   ///< of all layers; without pages it is empty
  int64_t num_pages = 0;
  std::vector<std::vector<int32_t>> pools;  ///< PAGED_PER_HEAD: the layers that share keys and values
  void* state = nullptr;
  void* workspace = nullptr;
};

/// The memory of a cache, for checks that a call's arguments are apart from it.
struct OwnMemory {
  Ranges written;    ///< keys, values, state, workspace
  Ranges workspace;  ///< memory that calls write without changing state
  Ranges tables;     ///< block table and offsets, which are read only
};

/// All memory of a cache. `memory` is complete.
OwnMemory own_memory(const CacheMemory& memory, const Settings& settings, uint64_t state_bytes,
                     uint64_t workspace_bytes);

/// Checks lent memory against the needs of the config. `memory` may be null: the caller lends nothing.
CacheMemory validate_memory(const hashevict_memory* memory, const Settings& settings, uint64_t state_bytes,
                            uint64_t workspace_bytes);

/// Checks an operation's arguments as far as possible without reading index arrays, which may be device memory.
Step validate_args(const hashevict_prefill_args* args, const Settings& settings, const OwnMemory& own);
Step validate_args(const hashevict_evict_args* args, const Settings& settings, const OwnMemory& own);
Step validate_args(const hashevict_append_args* args, const Settings& settings, const OwnMemory& own);
Step validate_args(const hashevict_attend_args* args, const Settings& settings, const OwnMemory& own);
Step validate_args(const hashevict_decode_args* args, const Settings& settings, const OwnMemory& own);

/// Applies the aliasing rule (hashevict.h, at the top) to the tensors of one call. Each of `written` must be apart from
/// the others, from all of `read` and from the cache. Each of `read` must be apart from the cache's memory that the
/// call writes.
/// @param in_place the one of `read` that equals `written[0]`, or nullptr
void validate_aliasing(const OwnMemory& own, std::span<const Footprint> written, std::span<const Footprint> read,
                       bool changes_state, const Footprint* in_place = nullptr);

/// Checks the contents of index arrays in host memory against the state: sequences in range and at most once, offsets
/// monotone, positions at most 2^31 - 1, block-table entries in range and none twice. Refuses queries and prompts that
/// the state does not allow. `seen` is scratch of num_sequences bytes, `used` of pages_of_check() pages.
void validate_batch_contents(const Step& step, const Settings& settings, const CacheMemory& memory, const Layer& layer,
                             Operation operation, uint8_t* seen, PageSet& used);

/// A row of the block table. Layer and KV head are 0 where all share the row.
struct PageRow {
  int32_t layer, sequence, kv_head;
};

/// Pages in the longest row that a head may need; 0 if the layout has no pages.
int32_t most_pages(const Settings& settings);
/// Pages of all rows of a full sequence.
int64_t pages_of_sequence(const Settings& settings);
/// Pages that one check goes through at most, for a PageSet.
int64_t pages_of_check(const Settings& settings);
/// The length of the longest head of any layer, where each layer has seen so many tokens.
int32_t longest_length(const Settings& settings, std::span<const int32_t> tokens);

/// Calls `visit(row, pages)` for each row of the block table that a sequence has, layer by layer, with the pages that
/// it needs.
/// @param tokens [num_layers] that the sequence has seen
template <class Visit>
void visit_page_rows(const Settings& settings, int32_t sequence, std::span<const int32_t> tokens, const Visit& visit) {
  const int32_t page_size = settings.placement.page_size;
  if (!settings.placement.is_paged_per_head()) {
    visit(PageRow{0, sequence, 0}, num_parts(longest_length(settings, tokens), page_size));
    return;
  }
  for (int32_t layer = 0; layer < settings.shape.num_layers; ++layer) {
    for (int32_t kv_head = 0; kv_head < settings.shape.num_kv_heads; ++kv_head) {
      const int32_t length = settings.head(layer, kv_head).length(tokens[static_cast<std::size_t>(layer)]);
      visit(PageRow{layer, sequence, kv_head}, num_parts(length, page_size));
    }
  }
}

/// Checks that a row of a CSR table, which has entries [begin, end), lies within the table and has `pages` entries.
void check_page_list(const Settings& settings, const CacheMemory& memory, const PageRow& row, int64_t begin,
                     int64_t end, int32_t pages);
/// Checks that a row's first `count` entries, in host memory, are pages.
/// @param used the pages of the call so far, to which these are added; none may occur twice. nullptr: not checked
void check_page_entries(const CacheMemory& memory, const PageRow& row, const int32_t* entries, int32_t count,
                        PageSet* used);

/// Checks, in host memory, the pages of a sequence's rows in a layer that has seen `tokens` tokens: in range, and none
/// in `used`, to which they are added.
void validate_pages(const Settings& settings, const CacheMemory& memory, int32_t layer, int32_t sequence,
                    int32_t tokens, PageSet& used);
/// The same for some sequences in all layers. Pages may occur twice only in layers that do not share them.
/// @param tokens [num_layers] that each of the sequences has seen
void validate_pages_of_layers(const Settings& settings, const CacheMemory& memory, std::span<const int32_t> sequences,
                              std::span<const int32_t> tokens, PageSet& used);

/// The caller's name of a layer's rule, for messages: `config.rule`, or `config.layer_rules[layer]`.
std::string rule_name(const Settings& settings, int32_t layer);

/// Checks a layer index. `lowest` is kAll if -1 may stand for all layers.
void validate_layer(const Settings& settings, int32_t layer, int32_t lowest = 0);
void validate_kv_head(const Settings& settings, int32_t kv_head, int32_t lowest = 0);
void validate_sequence(const Settings& settings, int32_t sequence, const char* name, int32_t lowest = 0);

/// Checks a pointer that a call reads or writes through.
void validate_pointer(const void* pointer, const char* name);

EncodeArguments validate_encode(const Settings& settings, const OwnMemory& own, int32_t layer, int32_t sequence,
                                int32_t as, const hashevict_tensor* x, const hashevict_tensor* codes);

void validate_fork(const Settings& settings, int32_t source, int32_t target);

/// @param most_bytes upper bound of a sequence's state; the call uses no more of the buffer than that
void validate_save(const Settings& settings, const OwnMemory& own, int32_t sequence, const void* buffer,
                   uint64_t buffer_bytes, uint64_t most_bytes, const uint64_t* written);
void validate_load(const Settings& settings, const OwnMemory& own, int32_t sequence, const void* buffer,
                   uint64_t buffer_bytes, uint64_t most_bytes);

/// The requirements on a tensor. It owns no memory, so validation allocates only if it fails.
struct TensorSpec {
  const char* name;  ///< for messages
  bool any_float;    ///< float32, float16 or bfloat16; if false, exactly `dtype`
  DType dtype;
  std::array<int64_t, 3> shape;  ///< kNoDim past the rank
  bool written;
};
inline constexpr int64_t kNoDim = -1;

/// The dtypes of keys, values, queries and outputs.
inline constexpr std::initializer_list<Choice> kFloatDtypes{
    {"FLOAT32", HASHEVICT_FLOAT32}, {"FLOAT16", HASHEVICT_FLOAT16}, {"BFLOAT16", HASHEVICT_BFLOAT16}};

/// Whether a tensor is present: it has memory, or needs none because an extent is 0.
bool present(const hashevict_tensor& tensor);

/// Checks a present tensor against its spec.
TensorView validate_tensor(const hashevict_tensor& tensor, const TensorSpec& spec);

}  // namespace hashevict::core
