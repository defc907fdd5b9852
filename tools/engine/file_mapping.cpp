// SPDX-License-Identifier: Apache-2.0
#include "file_mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <hashevict/status.hpp>
#include <mutex>
#include <string>
#include <utility>

namespace hashevict::engine {

// The part of a mapping that a signal handler reads. Entries are reused and never freed, so the handler may walk the
// list while other threads change it.
struct FileMapping::Entry {
  std::atomic<std::uintptr_t> begin = 0, end = 0;  // empty: free
  std::array<char, 512> name{};                    // truncated
  bool is_told = false;  // its change was reported; guarded by the mutex, like the members below
  const FileMapping* mapping = nullptr;
  Entry* next = nullptr;
};

namespace {

std::mutex mutex;         // guards the data below, except members that a handler reads
std::string changed;      // the first file found changed when its mapping ended
std::atomic<void*> head;  // of all entries

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& message) {
  throw Error{Status::invalid_data, path.string() + ": " + message};
}

[[noreturn]] void fail_changed(const std::string& name) {
  fail(name, "was changed while it was read");
}

bool is_as_opened(int descriptor, const struct stat& opened) {
  struct stat now {};
  return ::fstat(descriptor, &now) == 0 && now.st_size == opened.st_size &&
         now.st_mtim.tv_sec == opened.st_mtim.tv_sec && now.st_mtim.tv_nsec == opened.st_mtim.tv_nsec;
}

}  // namespace

FileMapping::Entry* FileMapping::claim(const FileMapping* mapping) {
  const std::lock_guard lock(mutex);
  auto* entry = static_cast<Entry*>(head.load());
  while (entry != nullptr && entry->mapping != nullptr) entry = entry->next;
  if (entry == nullptr) {
    entry = new Entry;
    entry->next = static_cast<Entry*>(head.load());
    head = entry;
  }
  entry->mapping = mapping;
  entry->is_told = false;
  return entry;
}

FileMapping::FileMapping(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& message) {
    if (descriptor_ >= 0) ::close(descriptor_);
    fail(path, message);
  };
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) refuse(std::string("cannot be opened: ") + std::strerror(errno));
  if (::fstat(descriptor_, &opened_) != 0 || !S_ISREG(opened_.st_mode)) refuse("is not a regular file");
  const auto size = static_cast<std::size_t>(opened_.st_size);
  if (size > 0) {
    address_ = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor_, 0);
    if (address_ == MAP_FAILED) refuse(std::string("cannot be mapped: ") + std::strerror(errno));
  }
  size_ = size;
  entry_ = claim(this);
  path.string().copy(entry_->name.data(), entry_->name.size() - 1);
  entry_->begin = reinterpret_cast<std::uintptr_t>(address_);
  entry_->end = reinterpret_cast<std::uintptr_t>(address_) + size_;
}

FileMapping::~FileMapping() {
  {
    const std::lock_guard lock(mutex);
    if (changed.empty() && !entry_->is_told && !is_as_opened(descriptor_, opened_)) changed = entry_->name.data();
    entry_->begin = entry_->end = 0;
    entry_->name.fill('\0');
    entry_->mapping = nullptr;
  }
  if (size_ > 0) ::munmap(address_, size_);
  ::close(descriptor_);
}

const char* FileMapping::name_at(const void* address) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  for (auto* entry = static_cast<Entry*>(head.load()); entry != nullptr; entry = entry->next) {
    const std::uintptr_t page = 4096;  // the mapping reaches to the end of its last page
    if (at >= entry->begin && at < (entry->end + page - 1) / page * page) return entry->name.data();
  }
  return nullptr;
}

void FileMapping::require_unchanged() {
  const std::lock_guard lock(mutex);
  if (!changed.empty()) fail_changed(std::exchange(changed, {}));
  for (auto* entry = static_cast<Entry*>(head.load()); entry != nullptr; entry = entry->next) {
    const FileMapping* mapping = entry->mapping;
    if (mapping == nullptr || entry->is_told || is_as_opened(mapping->descriptor_, mapping->opened_)) continue;
    entry->is_told = true;
    fail_changed(entry->name.data());
  }
}

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool is_folder(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0) return S_ISDIR(status.st_mode);
  fail(path, std::string("cannot be opened: ") + std::strerror(errno));
}

}  // namespace hashevict::engine
