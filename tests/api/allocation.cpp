// SPDX-License-Identifier: Apache-2.0
// No operation allocates after construction. A separate program, because it counts every allocation of the process, on
// any thread, through operator new or malloc.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support.hpp"

// A sanitizer's malloc cannot be replaced a second time, so only operator new is counted there.
#if defined(__GLIBC__) && !defined(HASHEVICT_SANITIZE_ADDRESS) && !defined(HASHEVICT_SANITIZE_THREAD)
#define HASHEVICT_TEST_COUNTS_MALLOC 1
#else
#define HASHEVICT_TEST_COUNTS_MALLOC 0
#endif

namespace {

std::atomic<int64_t> g_allocations{0};
std::atomic<uint64_t> g_allocated_bytes{0};

void count(size_t size) {
  ++g_allocations;
  g_allocated_bytes += size;
}

/// operator new by way of malloc, which counts where it can.
void* counted(size_t size, size_t alignment) {
  if (HASHEVICT_TEST_COUNTS_MALLOC == 0) count(size);
  void* const memory = alignment == 0 ? std::malloc(size == 0 ? 1 : size)
                                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

/// Frees memory of operator new. Not inlined, or g++ would see `free` meet `new` and warn.
[[gnu::noinline]] void release(void* memory) {
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) {
  return counted(size, 0);
}
void* operator new[](size_t size) {
  return counted(size, 0);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return counted(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}

#if HASHEVICT_TEST_COUNTS_MALLOC
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
  count(size);
  return __libc_malloc(size);
}
void* calloc(size_t number, size_t size) {
  count(number * size);
  return __libc_calloc(number, size);
}
void* realloc(void* memory, size_t size) {
  count(size);
  return __libc_realloc(memory, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}
void* memalign(size_t alignment, size_t size) {
  count(size);
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** memory, size_t alignment, size_t size) {
  count(size);
  *memory = __libc_memalign(alignment, size);
  return *memory == nullptr ? 12 : 0;
}
}
#endif

namespace hashevict::test {
namespace {

/// The number of allocations during `action`.
template <class Action>
int64_t allocations_of(const Action& action) {
  const int64_t before = g_allocations;
  action();
  return g_allocations - before;
}

TEST(Counter, SeesNewAndMalloc) {
  EXPECT_GE(allocations_of([] {
              int* volatile number = new int{1};  // volatile: clang removes a pair of new and delete
              delete number;
            }),
            1);
  EXPECT_GE(allocations_of([] { std::vector<float> numbers(1000); }), 1);
#if HASHEVICT_TEST_COUNTS_MALLOC
  EXPECT_EQ(allocations_of([] {
              void* volatile memory = std::malloc(64);
              std::free(memory);
            }),
            1);
#endif
}

struct AllocationCase {
  std::string name;
  void (*action)(Config&);
  friend void PrintTo(const AllocationCase& row, std::ostream* stream) { *stream << row.name; }
};

const std::vector<AllocationCase> kConfigs{
    {"Paper", [](Config&) {}},
    {"Authors", [](Config& c) { c.rule = Rule{Preset::authors}; }},
    {"Superseded", [](Config& c) { c.rule = Rule{Preset::superseded}; }},
    {"Window", [](Config& c) { c.rule.policy = Policy::window; }},
    {"Random", [](Config& c) { c.rule.policy = Policy::random; }},
    {"Mean", [](Config& c) { c.rule.policy = Policy::mean; }},
    {"Votes", [](Config& c) { c.rule.policy = Policy::votes; }},
    {"Importance",
     [](Config& c) {
       c.rule.policy = Policy::importance;
       c.rule.importance_slopes = 1;
     }},
    {"Centered", [](Config& c) { c.rule.centering = Centering::prompt; }},
    {"PinnedPrompt", [](Config& c) { c.rule.pin_prompt = true; }},
    {"BFloat16", [](Config& c) { c.shape.dtype = DType::bfloat16; }},
    {"SlotMajor", [](Config& c) { c.placement.layout = Layout::slot_major; }},
    {"FourThreads", [](Config& c) { c.execution.num_threads = 4; }},
    {"LargeCapacity",
     [](Config& c) {
       c.shape.capacity = 3000;
       c.execution.num_threads = 4;
     }},
};

TEST(Fork, OfPagesAllocatesNothing) {
  const Config config = small_paged_config();
  const PagedMemory lent{config};
  Cache cache{config, lent.memory};
  feed(cache, 1, 25, 7);
  EXPECT_EQ(allocations_of([&] { cache.fork(1, 0, Stream{}); }), 0);
}

TEST(DivideSlots, AllocatesNothing) {
  const std::vector<float> quantiles{0.0F, 1.0F, 0.5F, 2.0F};
  const Tensor tensor{quantiles.data(), {2, 1, 2}};
  std::vector<int32_t> capacities(2);
  EXPECT_EQ(allocations_of([&] {
              EXPECT_EQ(hashevict_divide_slots(&tensor, 900, 4096, 5, capacities.data(), nullptr), HASHEVICT_OK);
            }),
            0);
}

class NoOperation : public ::testing::TestWithParam<AllocationCase> {};

TEST_P(NoOperation, AllocatesAfterConstruction) {
  Config config = small_config();
  GetParam().action(config);
  config.execution.max_batch_tokens = 4096;
  Cache cache{config};
  StepData prompt{config, config.shape.capacity + 20, 1};
  prompt.set_rows({config.shape.capacity + 10, 0, 10});
  StepData step{config, 6, 2};
  step.set_rows({3, 2, 1});
  std::vector<uint8_t> codes(static_cast<size_t>(6 * 2 * config.rule.hash_bits / 8));
  const Tensor code_tensor{codes.data(), {6, 2, config.rule.hash_bits / 8}};
  std::vector<std::byte> saved(cache.save_bytes());

  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    prompt.args.mode = static_cast<int32_t>(mode);
    EXPECT_EQ(allocations_of([&] { cache.prefill(prompt.args, Stream{}); }), 0) << "prefill " << static_cast<int>(mode);
    EXPECT_EQ(allocations_of([&] { cache.reset(Stream{}); }), 0);
  }
  EXPECT_EQ(allocations_of([&] { cache.prefill(prompt.args, Stream{}); }), 0);
  if (config.rule.pin_prompt == 0 && config.rule.centering != Centering::prompt) {
    prompt.args.mode = HASHEVICT_PREFILL_REPLAY;
    prompt.args.attention = HASHEVICT_PREFILL_STREAMED;
    EXPECT_EQ(allocations_of([&] { cache.prefill(prompt.args, Stream{}); }), 0);
  }
  EXPECT_EQ(allocations_of([&] { cache.decode(step.args, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.append(step.args, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.evict(step.args, Stream{}); }), 0);
  StepData queries{config, 3, 3};
  EXPECT_EQ(allocations_of([&] { cache.attend(queries.args, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.encode(0, 0, EncodeAs::keys, step.args.k, code_tensor, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.fork(0, 1, Stream{}); }), 0);
  uint64_t written = 0;
  EXPECT_EQ(allocations_of([&] { written = cache.save(0, saved.data(), saved.size(), Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.load(2, saved.data(), written, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { (void)cache.view(0, 0); }), 0);
  EXPECT_EQ(allocations_of([&] { (void)cache.statistics(Stream{}); }), 0);
}

INSTANTIATE_TEST_SUITE_P(Configs, NoOperation, ::testing::ValuesIn(kConfigs),
                         [](const auto& info) { return info.param.name; });

TEST(NoOperation, AllocatesInPages) {
  const Config config = small_paged_config();
  const PagedMemory lent{config};
  Cache cache{config, lent.memory};
  StepData step{config, 60, 2};
  step.set_rows({30, 20, 10});
  EXPECT_EQ(allocations_of([&] { cache.prefill(step.args, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.decode(step.args, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.fork(0, 1, Stream{}); }), 0);
}

TEST(Construction, AllocatesNoKeysOrStateWhereTheyAreLent) {
  Config config = small_config();
  config.shape.capacity = 4096;
  const Bytes bytes = Cache::required_bytes(config);
  std::vector<float> keys(bytes.keys / sizeof(float));
  std::vector<float> values(bytes.values / sizeof(float));
  const GuardedBuffer state{bytes.state};
  const GuardedBuffer workspace{bytes.workspace};
  Memory memory;
  for (size_t layer = 0; layer < 2; ++layer) {
    memory.keys.push_back(keys.data() + layer * keys.size() / 2);
    memory.values.push_back(values.data() + layer * values.size() / 2);
  }
  memory.state = state.data();
  memory.state_bytes = bytes.state;
  memory.workspace = workspace.data();
  memory.workspace_bytes = bytes.workspace;
  const auto bytes_of_creation = [&](const Memory& given) {
    const uint64_t before = g_allocated_bytes;
    const Cache cache{config, given};
    return g_allocated_bytes - before;
  };
  EXPECT_GE(bytes_of_creation(Memory{}), bytes.total);
  EXPECT_LT(bytes_of_creation(memory), 64U * 1024) << "only the handle and its bookkeeping";
}

}  // namespace
}  // namespace hashevict::test
