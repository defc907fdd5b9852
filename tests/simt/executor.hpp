// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "simt/fiber.hpp"
#include "simt/report.hpp"
#include "simt/shadow.hpp"

namespace hashevict::simt {

/// How a kernel is run. The same launch with the same seed does the same things in the same order.
struct Launch {
  int32_t grid_x = 1;
  int32_t grid_y = 1;
  int32_t threads = 32;        ///< of a block
  int32_t shared_bytes = 0;    ///< dynamic shared memory of a block
  uint64_t seed = 0;           ///< of every order that a device leaves open
  int32_t blocks_at_once = 1;  ///< above 1, so many blocks are alive together and take turns
};

/// Where fibers meet. Block-wide ones first.
enum class Meeting { block_sync, block_max, warp_sync, ballot, any, all, shuffle, warp_max, warp_sum };

/// One array in a block's shared memory.
struct SharedRegion {
  std::vector<unsigned char> bytes;
  std::size_t element_bytes = 0;
  std::vector<Cell> cells;  ///< one an element
};

/// Runs one launch: every CUDA thread is a fiber, and fibers take turns in a seeded random order. Stops at the first
/// fault and throws Report.
class Executor {
 public:
  Executor(const Launch& launch, std::function<void()> kernel);
  void run();

  /// The executor that runs the calling fiber. Everything below is for the primitives, on behalf of that fiber.
  static Executor& current();

  [[nodiscard]] const Launch& launch() const { return launch_; }
  [[nodiscard]] int32_t thread_index() const { return thread_->progress.thread; }
  [[nodiscard]] int32_t block_index() const { return thread_->progress.block; }
  uint64_t meet(Meeting meeting, uint32_t mask, uint64_t value, int32_t source_lane, Place place);
  void access_global(const void* address, std::size_t bytes, std::size_t alignment, AccessKind kind, Place place);
  /// The n-th array that this thread takes, of `count` elements.
  SharedRegion& take_shared(std::size_t n, std::size_t count, std::size_t element_bytes, Place place);
  void access_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place);
  void copy_async(SharedRegion& region, int32_t first, int32_t count, const void* source, Place place);
  void commit_copies();
  void wait_for_copies(std::size_t pending);
  /// Lets other fibers go first, or not.
  void maybe_yield();

 private:
  enum class State { ready, waiting, done };
  struct Block;
  struct Copy {
    SharedRegion* region;
    int32_t first, count;
    const void* source;
    Place place;
  };
  struct Thread {
    Progress progress;
    Block* block = nullptr;
    State state = State::ready;
    std::unique_ptr<Fiber> fiber;
    Meeting meeting{};
    uint32_t mask = 0;
    int32_t source_lane = 0;
    uint64_t value = 0;  // what it brings to a meeting and takes away
    Place place{"", 0};
    std::deque<std::vector<Copy>> copies;  // groups, oldest first; the last one is not committed
  };
  struct Block {
    int32_t index = 0;
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<std::unique_ptr<SharedRegion>> shared;
    int64_t shared_used = 0;
    int32_t num_done = 0;
  };
  struct Cancelled {};

  void start_block(int32_t index);
  void run_thread(Thread& thread);
  void end_thread();
  void resume(Thread& thread);
  void unwind();
  void wake(Thread& thread);
  void try_block_meeting();
  void try_warp_meeting();
  void complete_block_meeting(Block& block);
  template <class Visitor>
  void for_lanes(const Thread& arrived, const Visitor& visitor);
  void order_warp(Thread& arrived);
  void complete_warp_meeting(Thread& arrived);
  void check_source(const Thread& thread, std::size_t lane) const;
  void check_nobody_misses(const Thread& gone) const;
  [[noreturn]] void fail(const std::string& message) const;
  [[noreturn]] void fail_deadlock();
  [[nodiscard]] std::string header() const;
  [[nodiscard]] std::string text_of_thread() const;
  [[nodiscard]] std::string text_of_waiting(const Block& block) const;
  [[nodiscard]] Thread& lane_of_warp(const Thread& thread, int32_t lane) const;
  [[nodiscard]] bool has_lane(const Thread& thread, int32_t lane) const;
  void finish_copies(std::vector<Copy>& group);

  Launch launch_;
  std::function<void()> kernel_;
  std::mt19937_64 random_;
  GlobalShadow global_;
  std::vector<std::unique_ptr<Block>> alive_;
  std::vector<Thread*> ready_;
  Thread* thread_ = nullptr;  // the running one
  bool cancelled_ = false;
  mutable std::string fault_;
};

/// Runs `kernel(params...)` once per thread of the launch.
/// @throws Report for anything that a device would not define
template <class Kernel, class... Params>
void run(const Launch& launch, Kernel kernel, const Params&... params) {
  Executor{launch, [&] { kernel(params...); }}.run();
}

}  // namespace hashevict::simt
