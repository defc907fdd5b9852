// SPDX-License-Identifier: Apache-2.0
// The numbers of threads and bytes that the library takes as the machine's, on cgroups that the tests write.
#include "core/machine.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "hashevict/hashevict.h"

namespace hashevict::core {
namespace {

namespace fs = std::filesystem;

class Machine : public testing::Test {
 protected:
  Machine() {
    std::string name = (fs::temp_directory_path() / "hashevict-machine-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    root_ = name;
  }
  ~Machine() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& content) const {
    fs::create_directories(fs::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << content;
  }

  int32_t threads() const { return usable_threads(root_); }
  uint64_t memory() const { return usable_memory(root_); }

  std::string root_;
};

// The number of CPUs that the tests themselves may run on.
int32_t affinity() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  EXPECT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
  return CPU_COUNT(&mask);
}

// Evaluates a condition in a child process with its own limits, and returns the result.
bool holds_in_child(const std::function<bool()>& condition) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(condition() ? 0 : 1);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(Machine, WithoutCgroupsIsTheAffinityMask) {
  EXPECT_EQ(threads(), affinity());
}

TEST_F(Machine, NarrowerAffinityMaskCounts) {
  EXPECT_TRUE(holds_in_child([this] {
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0) return false;
    int first = 0;
    while (!CPU_ISSET(first, &mask)) ++first;
    CPU_ZERO(&mask);
    CPU_SET(first, &mask);
    return sched_setaffinity(0, sizeof mask, &mask) == 0 && threads() == 1;
  }));
}

TEST_F(Machine, QuotaOfTheUnifiedHierarchyIsRoundedUp) {
  write("/proc/self/cgroup", "0::/job\n");
  write("/sys/fs/cgroup/job/cpu.max", "50000 100000\n");
  EXPECT_EQ(threads(), 1);
  write("/sys/fs/cgroup/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(threads(), std::min(2, affinity()));
}

TEST_F(Machine, QuotaOfAnOuterGroupCounts) {
  write("/proc/self/cgroup", "0::/outer/inner\n");
  write("/sys/fs/cgroup/outer/cpu.max", "100000 100000\n");
  write("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
  EXPECT_EQ(threads(), 1);
}

TEST_F(Machine, QuotaAtTheMountOfAContainerCounts) {
  write("/proc/self/cgroup", "12:cpu,cpuacct:/docker/0123\n0::/docker/0123\n");
  write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "20000\n");
  write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(threads(), 1);
}

TEST_F(Machine, QuotaOfTheFirstHierarchyUnderItsShortNameCounts) {
  write("/proc/self/cgroup", "3:cpuset:/other\n2:cpuacct,cpu:/job\n");
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "90000\n");
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  write("/sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us", "1\n");
  EXPECT_EQ(threads(), 1);
}

TEST_F(Machine, WhatIsNoQuotaIsNoLimit) {
  write("/proc/self/cgroup", "0::/job\n1:cpu:/job\nnonsense\n:::\n2:cpu\n");
  for (const char* content : {"", "max", "max 100000", "0 100000", "100000", "100000 0", "x y", "-1 100000",
                              "99999999999999999999 100000", "100000 max"}) {
    write("/sys/fs/cgroup/job/cpu.max", content);
    EXPECT_EQ(threads(), affinity()) << content;
  }
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us", "-1\n");
  write("/sys/fs/cgroup/cpu/job/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(threads(), affinity());
}

TEST_F(Machine, HugeQuotaIsNoMoreThanTheCpus) {
  write("/proc/self/cgroup", "0::/\n");
  write("/sys/fs/cgroup/cpu.max", "18446744073709551614 1\n");
  EXPECT_EQ(threads(), affinity());
}

TEST_F(Machine, MemoryIsNoMoreThanItsCgroupsGrant) {
  const uint64_t whole = memory();
  write("/proc/self/cgroup", "0::/outer/inner\n4:memory:/job\n");
  write("/sys/fs/cgroup/outer/memory.max", "max\n");
  EXPECT_EQ(memory(), whole);
  write("/sys/fs/cgroup/outer/memory.max", "67108864\n");
  EXPECT_EQ(memory(), 67108864U);
  write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(memory(), 67108864U);
  write("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "33554432\n");
  EXPECT_EQ(memory(), 33554432U);
}

TEST_F(Machine, MemoryIsNoMoreThanTheAddressSpaceMayHold) {
  EXPECT_TRUE(holds_in_child([this] {
    const rlimit limit{memory() / 2, memory() / 2};
    return setrlimit(RLIMIT_AS, &limit) == 0 && memory() == limit.rlim_cur;
  }));
}

TEST_F(Machine, ThreadsAreWithinTheRangeOfAConfig) {
  EXPECT_GE(usable_threads(), 1);
  EXPECT_LE(usable_threads(), HASHEVICT_MAX_THREADS);
}

}  // namespace
}  // namespace hashevict::core
