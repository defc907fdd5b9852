// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <hashevict/config.hpp>
#include <string>
#include <string_view>

#include "cli/runtime.hpp"
#include "tasks.hpp"

namespace hashevict::cli {

/// Streams `text` through a new cache of this config. @return the mean negative log-likelihood in nats of its bytes,
/// each given all before it. @throws Error
double nats_per_byte(const Runtime& runtime, const Config& config, std::string_view text);

/// Streams an example through a new cache of this config. @return 1 if each byte of the answer is the most likely one,
/// given the true ones before it, else 0. @throws Error
double recall(const Runtime& runtime, const Config& config, const Example& example);

/// Measures tokens per second at the end of `text`, one at a time: the median over the last `num_timed` tokens.
/// @throws Error
double tokens_per_second(const Runtime& runtime, const Config& config, std::string_view text, size_t num_timed);

/// Streams a byte-level prompt through a new cache of this config and continues it greedily by `num_bytes` bytes.
/// @throws Error
std::string continue_prompt(const Runtime& runtime, const Config& config, std::string_view prompt, int32_t num_bytes);

}  // namespace hashevict::cli
