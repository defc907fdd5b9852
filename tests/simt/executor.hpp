// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "simt/fiber.hpp"
#include "simt/global_shadow.hpp"
#include "simt/report.hpp"

namespace hashevict::simt {

/// The way to run a kernel. The same launch with the same seed does the same things in the same order.
struct Launch {
  int32_t grid_x = 1;
  int32_t grid_y = 1;
  int32_t threads = 32;               ///< threads per block
  int32_t shared_bytes = 0;           ///< dynamic shared memory of a block
  int32_t shared_limit = 227 * 1024;  ///< of dynamic and static shared memory together
  uint64_t seed = 0;                  ///< determines every order that a device leaves open
  int32_t blocks_at_once = 1;         ///< number of live blocks; above 1, they take turns
  int32_t cluster = 1;                ///< blocks of a cluster, which live together; divides grid_x
  bool chained = false;  ///< each thread must call wait_for_launch_before() before it touches global memory or ends
};

/// The places where fibers meet, the block-wide ones first.
enum class Meeting {
  block_sync,
  block_max,
  warp_sync,
  ballot,
  any,
  all,
  shuffle,
  warp_max,
  warp_sum,
  mma,
  cluster_wait,
  mbarrier_wait
};

/// An mbarrier of a block: the arrivals and the bytes that its current phase waits for.
struct Mbarrier {
  uint32_t count = 0;  ///< arrivals of a phase
  uint32_t pending = 0;
  int64_t bytes = 0;                ///< expected and not landed; negative where copies landed before they were expected
  uint32_t phase = 0;               ///< number of completed phases
  std::size_t number = 0;           ///< among those of the block
  std::vector<uint64_t> arriving;   ///< what those knew who arrived so far; see Executor::Thread::knows
  std::vector<uint64_t> completed;  ///< what those knew who arrived in completed phases
  bool is_remote = false;           ///< blocks of the cluster arrive or push here
  BlockClock fenced;                ///< what blocks of the cluster fenced before they arrived so far
  BlockClock completed_fences;      ///< the same in completed phases
};

/// Elements of shared memory that a bulk copy or a push fills.
struct BulkTarget {
  int32_t count = 0;
  const unsigned char* from = nullptr;
  bool is_pushed = false;
  std::array<unsigned char, 16> pushed{};
  Mbarrier* barrier = nullptr;
  uint32_t phase = 0;  ///< of the barrier, that the copy belongs to
  bool landed = false;
  int32_t thread = 0;  ///< that started the copy
  Place place{"", 0};
  std::vector<uint64_t> last_reads;  ///< time of each thread's last read; 0: none
};

/// What has become of the last copy to an element of shared memory: none, or it was overwritten or read since.
enum class CopyState : uint8_t { none, flies, unread };

/// One array in a block's shared memory.
struct SharedRegion {
  std::vector<unsigned char> bytes;
  std::size_t element_bytes = 0;
  std::size_t count = 0;
  std::size_t index = 0;                  ///< among the arrays of the block
  uint32_t epoch = 0;                     ///< of the block
  std::vector<Cell> cells;                ///< at least one per element
  std::vector<Mbarrier> barriers;         ///< one per element, where the array has mbarriers
  std::map<int32_t, BulkTarget> targets;  ///< by their first element, where bulk copies fill the array
  std::vector<CopyState> copied;          ///< of each element, where threads' copies fill the array
};

/// SplitMix64, cheap enough for every memory access.
class Random {
 public:
  using result_type = uint64_t;
  explicit Random(uint64_t seed) : state_{seed} {}
  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return UINT64_MAX; }
  uint64_t operator()() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  /// A number from 0 to end - 1.
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(((*this)() >> 32) * end >> 32); }

 private:
  uint64_t state_;
};

/// Runs one launch. Every CUDA thread is a fiber, and fibers take turns in a seeded random order. Stops at the first
/// fault and throws Report.
class Executor {
 public:
  Executor(const Launch& launch, std::function<void()> kernel);
  void run();

  /// The executor that runs the calling fiber. The primitives call everything below on behalf of that fiber.
  static Executor& current() {
    if (running_ == nullptr) fail_outside();
    return *running_;
  }

  [[nodiscard]] const Launch& launch() const { return launch_; }
  [[nodiscard]] int32_t thread_index() const { return thread_->progress.thread; }
  [[nodiscard]] int32_t block_index() const { return thread_->progress.block; }
  uint64_t meet(Meeting meeting, uint32_t mask, uint64_t value, int32_t source_lane, Place place);
  /// A fence of this thread. Its later atomic accesses publish what its earlier barriers ordered, and the thread learns
  /// what its earlier atomic accesses were told.
  void fence();
  void access_global(const void* address, std::size_t bytes, std::size_t alignment, AccessKind kind, Place place);
  /// The n-th array that this thread takes; it has `count` elements.
  SharedRegion& take_shared(std::size_t n, std::size_t count, std::size_t element_bytes, Place place);
  /// Records the kernel's static shared memory when the first thread gets there.
  void use_static_shared(int32_t bytes, Place place);
  void access_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place);
  /// Starts to copy kCopiedBytes to the elements from `first` on, which hold random bytes until this thread waits. The
  /// source must stay unchanged until then.
  /// @param from nullptr: zeros come
  void start_copy(const void* from, SharedRegion& region, int32_t first, Place place);
  /// Ends all copies that this thread has started.
  void wait_for_copies();
  /// Makes a group of this thread's copies that are in none.
  void commit_copies() { ++thread_->num_groups; }
  /// Ends the copies of all groups of this thread but the `newest` last ones.
  void wait_for_older_copies(int32_t newest);
  void wait_for_launch_before() { thread_->has_waited = true; }

  // Clusters, mbarriers and bulk copies: cluster.cpp.
  void arrive_at_cluster();
  void wait_for_cluster(Place place);
  /// Starts to write 16 bytes to the elements from `first` on of the array of block `rank` of the cluster that
  /// corresponds to `own`, which the calling block has taken. They count for that block's mbarrier and land at any
  /// later time; until then the elements hold random bytes.
  void push(const SharedRegion& own, int32_t rank, int32_t first, const void* bytes, const SharedRegion& own_barriers,
            int32_t barrier, Place place);
  /// One arrival at an mbarrier of block `rank`, which first expects `bytes` more.
  void arrive_at(const SharedRegion& own_barriers, int32_t rank, int32_t i, int64_t bytes, Place place);
  void init_barrier(SharedRegion& region, int32_t i, uint32_t count, Place place);
  /// One arrival, which first expects `bytes` more.
  void arrive(SharedRegion& region, int32_t i, int64_t bytes, Place place);
  /// @param of_cluster the wait also covers what other blocks push, and what they fenced before they arrived
  void wait_for_phase(SharedRegion& region, int32_t i, uint32_t parity, bool of_cluster, Place place);
  /// Starts to copy `bytes` of global memory to the elements from `first` on. They hold random bytes until the copy
  /// lands, at any later time.
  void start_bulk_copy(SharedRegion& region, int32_t first, const void* from, int32_t bytes, SharedRegion& barriers,
                       int32_t barrier, Place place);
  /// Gives other fibers a turn, or not, at random.
  void maybe_yield() {
    if (--until_yield_ <= 0) yield();
  }

 private:
  static inline thread_local Executor* running_ = nullptr;
  enum class State { ready, waiting, done };
  struct Block;
  struct Cluster;
  static constexpr int32_t kCopiedBytes = 16;
  struct Copy {
    const void* from;  // nullptr: zeros
    std::array<unsigned char, kCopiedBytes> bytes;
    SharedRegion* region;
    int32_t first;
    int32_t group;
    Place place;
  };
  struct Thread {
    Progress progress;
    Block* block = nullptr;
    State state = State::ready;
    std::optional<Fiber> fiber;
    Meeting meeting = Meeting::block_sync;
    uint32_t mask = 0;
    int32_t source_lane = 0;
    uint64_t value = 0;  // the thread's input to a meeting, then its result
    Place place{"", 0};
    bool has_waited = false;            // called wait_for_launch_before()
    uint32_t fenced = 0;                // barriers of its block before its last fence
    BlockClock told;                    // learnt by atomic accesses, unknown until a fence
    std::vector<Copy> copies;           // started and not waited for, the oldest first
    int32_t num_groups = 0;             // of copies; the next one's number
    bool has_arrived = false;           // at the cluster's barrier, and has not waited there
    uint32_t phases = 0;                // of the cluster's barrier that the thread has waited for
    Mbarrier* barrier = nullptr;        // that it waits for
    std::vector<uint64_t> known_times;  // of each thread of the block: accesses up to this time are ordered before
    std::vector<uint32_t> waited;       // for each mbarrier of the block: phases whose completion it knows
  };
  struct Block {
    int32_t index = 0;
    uint32_t epoch = 0;  // of its shared memory
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<std::unique_ptr<SharedRegion>> shared;
    std::size_t num_shared = 0;  // number of them in use
    int64_t shared_used = 0;
    int32_t num_done = 0;
    int32_t num_at_barrier = 0;
    std::array<uint32_t, 32> waiting{};  // lanes of each warp that wait in a meeting of the warp
    BlockClock clock;
    bool told = false;  // some thread knows more than the block
    Cluster* cluster = nullptr;
    std::size_t num_barriers = 0;  // mbarriers
    uint64_t known_time = 0;       // all threads know what the block did up to this time
    std::vector<uint32_t> waited;  // for each mbarrier: phases whose completion all threads know
    int32_t num_flying = 0;        // bulk copies and pushes
  };
  /// Blocks that live together, and their barrier.
  struct Cluster {
    struct Phase {
      std::vector<uint32_t> barriers;  // for each block, the fewest that its threads had before they arrived, and one
      BlockClock clock;                // what those knew who arrived
    };
    std::vector<Block*> blocks;  // nullptr: has ended
    int32_t num_live = 0;        // threads
    int32_t num_arrived = 0;
    uint32_t phase = 0;  // number of completed phases
    std::array<Phase, 2> phases;
  };
  struct Flying {
    Block* block;
    SharedRegion* region;
    int32_t first;
  };
  /// Resources that a host thread's launches reuse: mapping stacks and clearing memory are slow.
  struct Pool {
    StackPool stacks;
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::unique_ptr<GlobalShadow>> shadows;
    uint32_t epoch = 0;
  };

  struct Cancelled {};

  static Pool& pool();
  [[noreturn]] static void fail_outside();
  void run_blocks();
  void start_cluster(int32_t first);
  Block& start_block(int32_t index);
  void end_blocks();
  void yield();
  void run_thread(Thread& thread);
  void end_thread();
  void resume(Thread& thread);
  void unwind();
  void wake(Thread& thread);
  void try_block_meeting();
  void try_warp_meeting();
  void check_mask(const Thread& thread) const;
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
  [[noreturn]] void fail_access(const char* space, const Place& place, const std::string& wrong) const;
  [[nodiscard]] static Cell& cell_of(SharedRegion& region, int32_t i);
  void end_copy(const Copy& copy);
  void check_range(const SharedRegion& region, int32_t first, int32_t count, Place place) const;
  void record_shared(SharedRegion& region, int32_t first, int32_t count, AccessKind kind, Place place);
  void read_bulk(SharedRegion& region, int32_t first, int32_t count, Place place);
  void record_reads(SharedRegion& region, int32_t first, int32_t end, Place place);
  void check_arrival(const Mbarrier& barrier, int32_t i, Place place) const;
  void fill_randomly(SharedRegion& region, int32_t first, int32_t bytes);
  void complete_cluster_phase(Cluster& cluster);
  void leave_cluster(Thread& thread);
  void check_pushes(const Block& block) const;
  [[nodiscard]] Block& block_of_cluster(int32_t rank, Place place) const;
  [[nodiscard]] SharedRegion& region_of(Block& block, const SharedRegion& own, Place place) const;
  Mbarrier& remote_barrier(Block& block, const SharedRegion& own_barriers, int32_t i, Place place);
  [[nodiscard]] Mbarrier& barrier_at(SharedRegion& region, int32_t i, Place place);
  void try_complete(Block& block, Mbarrier& barrier);
  [[nodiscard]] uint64_t known_time(const Thread& thread, std::size_t other) const;
  [[nodiscard]] static bool knows_phase(const Thread& thread, const Mbarrier& barrier, uint32_t phase);
  /// Marks that the thread's accesses so far come before what it does next.
  void note_time(Thread& thread);
  static void learn(std::vector<uint64_t>& known, const std::vector<uint64_t>& other);
  void order_block(Block& block);
  void retire_targets(SharedRegion& region, int32_t first, int32_t count, Place place);
  void land(std::size_t flying);
  [[nodiscard]] bool may_land();

  Launch launch_;
  std::function<void()> kernel_;
  Random random_;
  std::unique_ptr<GlobalShadow> global_;
  std::vector<CrossBlock> cross_;  // of shared memory, which blocks of a cluster share
  std::vector<std::unique_ptr<Block>> alive_;
  std::vector<std::unique_ptr<Cluster>> clusters_;
  std::vector<Flying> flying_;
  uint64_t time_ = 0;  // orders accesses to what bulk copies fill, and mbarriers
  std::vector<Thread*> ready_;
  Thread* thread_ = nullptr;  // the running thread
  int32_t until_yield_ = 1;
  bool block_ended_ = false;
  bool cancelled_ = false;
  mutable std::string fault_;
};

/// Runs `kernel(params...)` once per thread of the launch.
/// @throws Report for anything that is undefined on a device
template <class Kernel, class... Params>
void run(const Launch& launch, Kernel kernel, const Params&... params) {
  Executor{launch, [&] { kernel(params...); }}.run();
}

}  // namespace hashevict::simt
