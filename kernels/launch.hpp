// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/params.hpp"

/// The kernels' only entry points: declarations, so that callers need no CUDA compiler. Each puts its work on a stream
/// (a `cudaStream_t`), waits for nothing and allocates nothing.
/// @return nullptr, or what the device's runtime said against the launch
namespace hashevict::kernels {

/// Codes of vectors.
const char* launch_encode(const EncodeParams& params, void* stream);
/// One launch for all rows and heads.
const char* launch_evict(const EvictParams& params, void* stream);
/// One launch: splits, and their combination by the last of each head.
const char* launch_attend(const AttendParams& params, void* stream);
/// One launch: evict, attend and combine.
const char* launch_decode(const DecodeParams& params, void* stream);
/// Centres if asked for, codes, then the rule over codes alone, then one gather of keys and values.
const char* launch_prefill(const PrefillParams& params, void* stream);
const char* launch_copy(const CopyParams& params, void* stream);

/// Dynamic shared memory of a block that attention and prompts of a layer take at most; no other launch takes more. A
/// cache whose device has less is refused at construction.
int32_t attention_shared_bytes(const Layer& layer);
int32_t prompt_shared_bytes(const Layer& layer);

}  // namespace hashevict::kernels
