// SPDX-License-Identifier: Apache-2.0
#include "shared_options.hpp"

#include <hashevict/hashevict.h>

#include <hashevict/status.hpp>
#include <optional>

#include "engine/embedded_model.hpp"
#include "memory.hpp"
#include "numbers.hpp"

namespace hashevict::cli {

CLI::Option* add_seed_option(CLI::App& command, const std::string& name, uint64_t& seed,
                             const std::string& description) {
  const auto parse = [name, &seed](const std::string& text) {
    const std::optional<uint64_t> number = parse_whole<uint64_t>(text);
    if (!number) {
      throw Error(Status::invalid_argument,
                  name + " = '" + text + "': expected a whole number from 0 to " + std::to_string(UINT64_MAX));
    }
    seed = *number;
  };
  return command.add_option_function<std::string>(name, parse, description)
      ->default_str(std::to_string(seed))
      ->type_name("UINT");
}

void add_threads_option(CLI::App& command, int32_t& threads) {
  command.add_option("--threads", threads, "Threads; 0: all that this process may use")
      ->capture_default_str()
      ->check(CLI::Range(0, HASHEVICT_MAX_THREADS));
}

engine::Model load_model(const std::string& path) {
  if (path.empty()) return engine::load_embedded_model();
  return engine::Model::load(path, [](uint64_t bytes) { require_memory("--model", bytes); });
}

}  // namespace hashevict::cli
