// SPDX-License-Identifier: Apache-2.0
#include "cuda/devices.hpp"

#include <charconv>

#include "cuda/runtime.hpp"

namespace hashevict::cuda {
namespace {

/// Whether code for one architecture entry, such as `80-real`, `90`, `90a` or `100f-virtual`, runs on a device.
bool entry_runs_on(std::string_view entry, int32_t capability) {
  int32_t built = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), built);
  if (error != std::errc{}) return false;
  const std::string_view rest{end, static_cast<std::size_t>(entry.data() + entry.size() - end)};
  if (rest.starts_with('a')) return capability == built;
  const bool same_major = capability / 10 == built / 10 && capability >= built;
  if (rest.starts_with('f') || rest == "-real") return same_major;
  return capability >= built;
}

std::string refusal_of(int32_t device) {
  const int32_t capability = compute_capability(device);
  if (runs_on(built_architectures(), capability)) return {};
  return "device " + std::to_string(device) + " has compute capability " + std::to_string(capability / 10) + "." +
         std::to_string(capability % 10) + ", and the kernels of this build are for " +
         std::string{built_architectures()};
}

}  // namespace

bool runs_on(std::string_view architectures, int32_t capability) {
  while (!architectures.empty()) {
    const std::size_t end = architectures.find(',');
    if (entry_runs_on(architectures.substr(0, end), capability)) return true;
    architectures.remove_prefix(end == std::string_view::npos ? architectures.size() : end + 1);
  }
  return false;
}

int32_t num_usable_devices() {
  int32_t usable = 0;
  for (int32_t device = 0; device < num_devices(); ++device) usable += refusal_of(device).empty() ? 1 : 0;
  return usable;
}

std::string refusal(int32_t device) {
  const int32_t devices = num_devices();
  if (devices == 0) return "no CUDA device can be used here";
  if (device >= 0 && device < devices) return refusal_of(device);
  return num_usable_devices() > 0 ? std::string{} : refusal_of(0);
}

}  // namespace hashevict::cuda
