// SPDX-License-Identifier: Apache-2.0
#include "runtime.hpp"

#include <fmt/format.h>

#include <hashevict/cache.hpp>

#include "engine/tokenizer.hpp"
#include "profile.hpp"
#include "votes.hpp"

namespace hashevict::cli {

engine::KvCache make_cache(const Runtime& runtime, const Config& config) {
  engine::KvCache cache(config, runtime.threads);
  if (runtime.profile != nullptr && runtime.profile->teaches(config)) {
    runtime.profile->apply(cache.cache());
  } else if (takes_votes(config)) {
    if (runtime.votes == nullptr) throw Error(Status::invalid_argument, "recall: no votes were learned for this model");
    runtime.votes->apply(cache.cache());
  }
  return cache;
}

void add_learned(const Runtime& runtime, const Config& config, engine::SafetensorsWriter& writer) {
  if (runtime.profile != nullptr && runtime.profile->teaches(config)) return runtime.profile->add_to(writer, config);
  if (takes_votes(config) && runtime.votes != nullptr) runtime.votes->add_to(writer);
}

void divide_slots(const Runtime& runtime, Config& config, int64_t num_tokens) {
  const Profile* const profile = runtime.profile;
  if (profile != nullptr && runtime.divides) return profile->divide(config, num_tokens, runtime.floor);
  const bool takes_them = takes_votes(config) && (profile == nullptr || !profile->teaches(config));
  if (takes_them && runtime.votes != nullptr) runtime.votes->divide(config, num_tokens);
}

std::string library_version() {
  const Capabilities library = Cache::capabilities(Backend::cpu);
  return fmt::format("{}.{}.{}", library.version_major, library.version_minor, library.version_patch);
}

std::vector<int32_t> sequence_tokens(const engine::ModelConfig& model, std::string_view bytes) {
  std::vector<int32_t> tokens = engine::ByteTokenizer::encode(bytes);
  if (model.bos_token) tokens.insert(tokens.begin(), *model.bos_token);
  return tokens;
}

}  // namespace hashevict::cli
