// SPDX-License-Identifier: Apache-2.0
#include "core/machine.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>
#ifdef __linux__
#include <sched.h>
#endif

#include "hashevict/hashevict.h"

namespace hashevict::core {
namespace {

constexpr uint64_t kNone = UINT64_MAX;  // value of a limit that is not set

/// Reads a small file; empty if that fails.
std::string content_of(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return {};
  std::string text(65536, '\0');  // /proc/self/cgroup has a short line for each hierarchy
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  return text;
}

/// Removes the text before the first of `separators` from the front, and the separator too.
std::string_view take(std::string_view& text, std::string_view separators) {
  const std::size_t end = std::min(text.find_first_of(separators), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

/// Removes the next word and returns its number; kNone if it is no number ("max", "-1") or does not fit.
uint64_t take_number(std::string_view& text) {
  const std::string_view word = take(text, " \n");
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  return error == std::errc{} && end == word.data() + word.size() ? number : kNone;
}

bool lists(std::string_view controllers, std::string_view controller) {
  while (!controllers.empty()) {
    if (take(controllers, ",") == controller) return true;
  }
  return false;
}

/// The folders of the cgroups that bound this process for one controller, in both versions of the hierarchy.
struct CgroupFolders {
  std::vector<std::string> v2, v1;
};

/// Adds a cgroup's folder and all of its parents. In a container the path may be the host's, while the mount has the
/// container's own cgroup as its root. A folder that does not exist sets no limit.
void add_with_parents(const std::string& mount, std::string_view path, std::vector<std::string>& folders) {
  while (path.size() > 1) {
    folders.push_back(mount + std::string(path));
    path = path.substr(0, path.rfind('/'));
  }
  folders.push_back(mount);
}

CgroupFolders cgroup_folders(const std::string& root, std::string_view controller) {
  const std::string mount = root + "/sys/fs/cgroup";
  const std::string text = content_of(root + "/proc/self/cgroup");
  CgroupFolders folders;
  for (std::string_view rest = text; !rest.empty();) {
    std::string_view path = take(rest, "\n");
    const std::string_view hierarchy = take(path, ":");
    const std::string_view controllers = take(path, ":");
    if (path.empty() || path.front() != '/') continue;
    if (hierarchy == "0" && controllers.empty()) {
      add_with_parents(mount, path, folders.v2);
      add_with_parents(mount + "/unified", path, folders.v2);
    } else if (lists(controllers, controller)) {
      add_with_parents(mount + "/" + std::string(controllers), path, folders.v1);
      add_with_parents(mount + "/" + std::string(controller), path, folders.v1);
    }
  }
  return folders;
}

/// The number of CPUs that a quota of CPU time amounts to, rounded up.
uint64_t cpus(uint64_t quota, uint64_t period) {
  if (quota == kNone || period == kNone || quota == 0 || period == 0) return kNone;
  return quota / period + (quota % period != 0 ? 1 : 0);
}

uint64_t cgroup_cpus(const std::string& root) {
  const CgroupFolders folders = cgroup_folders(root, "cpu");
  uint64_t fewest = kNone;
  for (const std::string& folder : folders.v2) {
    const std::string content = content_of(folder + "/cpu.max");  // quota and period, or "max" and period
    std::string_view text = content;
    const uint64_t quota = take_number(text);
    fewest = std::min(fewest, cpus(quota, take_number(text)));
  }
  for (const std::string& folder : folders.v1) {
    const std::string quota_text = content_of(folder + "/cpu.cfs_quota_us");
    const std::string period_text = content_of(folder + "/cpu.cfs_period_us");
    std::string_view quota = quota_text;
    std::string_view period = period_text;
    fewest = std::min(fewest, cpus(take_number(quota), take_number(period)));
  }
  return fewest;
}

uint64_t cgroup_memory(const std::string& root) {
  const CgroupFolders folders = cgroup_folders(root, "memory");
  uint64_t least = kNone;
  const auto lower_to = [&least](const std::string& path) {
    const std::string content = content_of(path);
    std::string_view text = content;
    least = std::min(least, take_number(text));
  };
  for (const std::string& folder : folders.v2) lower_to(folder + "/memory.max");
  for (const std::string& folder : folders.v1) lower_to(folder + "/memory.limit_in_bytes");
  return least;
}

/// CPUs of the affinity mask, of any length; 0 if the system does not report it.
uint64_t affinity_cpus() {
#ifdef __linux__
  constexpr int kMostCpus = 1 << 20;
  for (int count = CPU_SETSIZE; count <= kMostCpus; count *= 2) {
    std::vector<cpu_set_t> mask(static_cast<std::size_t>(count) / CPU_SETSIZE);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(0, bytes, mask.data()) == 0) return static_cast<uint64_t>(CPU_COUNT_S(bytes, mask.data()));
  }
#endif
  return 0;
}

template <class Resource>  // an enum in glibc, elsewhere an int
uint64_t resource_limit(Resource resource) {
  rlimit limit{};
  const bool is_set = getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return is_set ? limit.rlim_cur : kNone;
}

}  // namespace

int32_t usable_threads(const std::string& root) {
  uint64_t count = affinity_cpus();
  if (count == 0) count = std::thread::hardware_concurrency();
  return static_cast<int32_t>(std::clamp<uint64_t>(std::min(count, cgroup_cpus(root)), 1, HASHEVICT_MAX_THREADS));
}

uint64_t usable_memory(const std::string& root) {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  const uint64_t machine =
      pages > 0 && page_bytes > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(page_bytes) : kNone;
  return std::min({machine, cgroup_memory(root), resource_limit(RLIMIT_AS), resource_limit(RLIMIT_DATA)});
}

}  // namespace hashevict::core
