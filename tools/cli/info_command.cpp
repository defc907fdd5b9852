// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <hashevict/cache.hpp>
#include <string>

#include "commands.hpp"
#include "names.hpp"
#include "runtime.hpp"

namespace hashevict::cli {
namespace {

template <class Enum>
std::string supported(const Capabilities& capabilities) {
  std::string names;
  for (const auto& [text, value] : Names<Enum>::kTable) {
    if (capabilities.supports(value)) names.append(names.empty() ? "" : ", ").append(text);
  }
  return names;
}

std::string supported_bits(const Capabilities& capabilities) {
  std::string names;
  for (uint32_t power = 0; power < 32; ++power) {
    if (((capabilities.hash_bits_mask >> power) & 1U) == 0) continue;
    names += (names.empty() ? "" : ", ") + std::to_string(1U << power);
  }
  return names;
}

void print(const char* what, const std::string& value) {
  std::printf("%-14s %s\n", what, value.c_str());
}

void print_info() {
  const Capabilities capabilities = Cache::capabilities(Backend::automatic);
  print("version", library_version());
  print("cpu target", static_cast<const char*>(capabilities.cpu_target));
  print("cpu threads", std::to_string(capabilities.num_hardware_threads));
  print("memory", std::to_string(capabilities.host_memory_bytes) + " bytes");
  print("cuda", capabilities.has_cuda_build == 0 ? "not in this build"
                                                 : std::to_string(capabilities.num_cuda_devices) + " devices");
  print("policies", supported<Policy>(capabilities));
  print("prefill modes", supported<PrefillMode>(capabilities));
  print("hash bits", supported_bits(capabilities));
  print("head size", "multiples of 8 up to " + std::to_string(capabilities.max_head_dim));
  print("storage", supported<DType>(capabilities));
  print("layouts", supported<Layout>(capabilities));
}

}  // namespace

void add_info(CLI::App& app) {
  app.add_subcommand("info", "Print the abilities of this build on this machine")->callback(print_info);
}

}  // namespace hashevict::cli
