// SPDX-License-Identifier: Apache-2.0
#include "embedded_model.hpp"

#include <cstddef>
#include <span>

// Embeds a file in the read-only data between two symbols. CMake passes the paths, and recompiles this file when one of
// the files changes.
#define HASHEVICT_EMBED(symbol, path)                                                   \
  __asm__(                                                                              \
      ".pushsection .rodata\n"                                                          \
      ".balign 64\n"                                                                    \
      ".global hashevict_embedded_" #symbol "\n.hidden hashevict_embedded_" #symbol     \
      "\n"                                                                              \
      ".global hashevict_embedded_" #symbol "_end\n.hidden hashevict_embedded_" #symbol \
      "_end\n"                                                                          \
      "hashevict_embedded_" #symbol                                                     \
      ":\n"                                                                             \
      ".incbin \"" path                                                                 \
      "\"\n"                                                                            \
      "hashevict_embedded_" #symbol                                                     \
      "_end:\n"                                                                         \
      ".popsection\n");                                                                 \
  extern "C" const std::byte hashevict_embedded_##symbol[];                             \
  extern "C" const std::byte hashevict_embedded_##symbol##_end[]

HASHEVICT_EMBED(config, HASHEVICT_EMBEDDED_CONFIG);
HASHEVICT_EMBED(weights, HASHEVICT_EMBEDDED_WEIGHTS);
HASHEVICT_EMBED(votes, HASHEVICT_EMBEDDED_VOTES);
HASHEVICT_EMBED(profile, HASHEVICT_EMBEDDED_PROFILE);
HASHEVICT_EMBED(text, HASHEVICT_EMBEDDED_TEXT);

namespace hashevict::engine {
namespace {

std::string_view text_between(const std::byte* begin, const std::byte* end) {
  return {reinterpret_cast<const char*>(begin), static_cast<std::size_t>(end - begin)};
}

}  // namespace

Model load_embedded_model() {
  const std::span weights(hashevict_embedded_weights, hashevict_embedded_weights_end);
  const Safetensors file = Safetensors::parse(weights, "embedded model");
  const auto config = text_between(hashevict_embedded_config, hashevict_embedded_config_end);
  return Model(parse_model_config(config, "embedded config.json"), file.table());
}

Safetensors embedded_votes() {
  return Safetensors::parse({hashevict_embedded_votes, hashevict_embedded_votes_end}, "embedded recall.safetensors");
}

Safetensors embedded_profile() {
  return Safetensors::parse({hashevict_embedded_profile, hashevict_embedded_profile_end},
                            "embedded profile.safetensors");
}

std::string_view embedded_sample_text() {
  return text_between(hashevict_embedded_text, hashevict_embedded_text_end);
}

}  // namespace hashevict::engine
