// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace hashevict::engine {

/// Maps a regular file for reading as long as the object lives.
///
/// Other processes may change the file meanwhile. If one truncates it, reading raises SIGBUS; the handler asks
/// name_at() for the file. Other changes show in the bytes that are read; require_unchanged() reports them.
class FileMapping {
 public:
  /// @throws Error invalid_data naming the file
  explicit FileMapping(const std::filesystem::path& path);
  ~FileMapping();
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), size_}; }
  std::string_view text() const { return {static_cast<const char*>(address_), size_}; }

  /// Returns the name of the file mapped at an address, or NULL. Safe in a signal handler.
  static const char* name_at(const void* address) noexcept;

  /// Refuses files that changed after they were opened, among those mapped now or since the last call. Call it before
  /// results are reported. A file that was replaced under its name by another did not change.
  /// @throws Error invalid_data naming the file
  static void require_unchanged();

 private:
  struct Entry;
  static Entry* claim(const FileMapping* mapping);

  int descriptor_ = -1;
  struct stat opened_ {};
  void* address_ = nullptr;
  std::size_t size_ = 0;
  Entry* entry_ = nullptr;
};

/// Whether the entry exists. A dangling link counts, and so does an entry that cannot be reached: opening it then
/// reports the reason.
bool is_there(const std::filesystem::path& path);

/// Whether the path is a folder, links followed. @throws Error invalid_data naming a missing or unreachable entry and
/// the reason
bool is_folder(const std::filesystem::path& path);

}  // namespace hashevict::engine
