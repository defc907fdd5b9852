// SPDX-License-Identifier: Apache-2.0
// After construction no operation allocates. A program of its own: it counts every allocation of the process, on any
// thread, whether it goes through operator new or malloc.
#include <atomic>
#include <cstdlib>
#include <new>

#include "support.hpp"

// Sanitizers bring their own malloc, which cannot be replaced a second time; there operator new alone is counted.
#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
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

/// operator new in terms of malloc, which counts where it can.
void* counted(size_t size, size_t alignment) {
  if (HASHEVICT_TEST_COUNTS_MALLOC == 0) count(size);
  void* const memory = alignment == 0 ? std::malloc(size == 0 ? 1 : size)
                                      : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

/// What operator new took. A call of its own: inlined, g++ would see `free` meet `new` and warn.
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

/// Allocations while `action` runs.
template <class Action>
int64_t allocations_of(const Action& action) {
  const int64_t before = g_allocations;
  action();
  return g_allocations - before;
}

TEST(Counter, SeesNewAndMalloc) {
  EXPECT_GE(allocations_of([] { delete new int{1}; }), 1);
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
    {"Authors", [](Config& c) { c.apply(Preset::authors); }},
    {"Superseded", [](Config& c) { c.apply(Preset::superseded); }},
    {"Window", [](Config& c) { c.policy = Policy::window; }},
    {"Random", [](Config& c) { c.policy = Policy::random; }},
    {"KeyNorm", [](Config& c) { c.policy = Policy::key_norm; }},
    {"Mean", [](Config& c) { c.policy = Policy::mean; }},
    {"Majority", [](Config& c) { c.policy = Policy::majority; }},
    {"Decay", [](Config& c) { c.score_decay_shift = 4; }},
    {"Centered", [](Config& c) { c.centering = Centering::prompt; }},
    {"PinnedPrompt", [](Config& c) { c.pin_prompt = true; }},
    {"BFloat16", [](Config& c) { c.dtype = DType::bfloat16; }},
    {"SlotMajor", [](Config& c) { c.layout = Layout::slot_major; }},
    {"FourThreads", [](Config& c) { c.num_threads = 4; }},
    {"LargeCapacity",
     [](Config& c) {
       c.capacity = 3000;
       c.num_threads = 4;
     }},
};

class NoOperation : public ::testing::TestWithParam<AllocationCase> {};

TEST_P(NoOperation, AllocatesAfterConstruction) {
  Config config = small_config();
  GetParam().action(config);
  config.max_batch_tokens = 4096;
  Cache cache{config};
  StepData prompt{config, config.capacity + 20, 1};
  prompt.set_rows({config.capacity + 10, 0, 10});
  StepData step{config, 6, 2};
  step.set_rows({3, 2, 1});
  std::vector<uint8_t> codes(static_cast<size_t>(6 * 2 * config.hash_bits / 8));
  const Tensor code_tensor{codes.data(), {6, 2, config.hash_bits / 8}};
  std::vector<std::byte> saved(cache.save_bytes());

  for (const PrefillMode mode : {PrefillMode::replay, PrefillMode::window, PrefillMode::recent}) {
    prompt.step.prefill_mode = mode;
    EXPECT_EQ(allocations_of([&] { cache.prefill(prompt.step, Stream{}); }), 0) << "prefill " << static_cast<int>(mode);
    EXPECT_EQ(allocations_of([&] { cache.reset(Stream{}); }), 0);
  }
  EXPECT_EQ(allocations_of([&] { cache.prefill(prompt.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.decode(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.append(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.evict(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.attend(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.encode(0, 0, EncodeAs::keys, step.step.k, code_tensor, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.fork(0, 1, Stream{}); }), 0);
  uint64_t written = 0;
  EXPECT_EQ(allocations_of([&] { written = cache.save(0, saved.data(), saved.size(), Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.load(2, saved.data(), written, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { (void)cache.view(0); }), 0);
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
  EXPECT_EQ(allocations_of([&] { cache.prefill(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.decode(step.step, Stream{}); }), 0);
  EXPECT_EQ(allocations_of([&] { cache.fork(0, 1, Stream{}); }), 0);
}

TEST(Construction, AllocatesNoKeysOrStateWhereTheyAreLent) {
  Config config = small_config();
  config.capacity = 4096;
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
