// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace hashevict::engine {

/// Writes a file that appears complete or not at all: under an unused name in the same folder, then renamed.
///
/// The new file inherits the mode, owner, group and extended attributes of the file that it replaces. If the old file
/// has several names (hard links), or this user may not set its attributes, its content is overwritten instead, after
/// the new content is complete in the same folder. If that fails, the new content stays there, and the message says
/// where.
///
/// Follows a symbolic link: the regular file that it points to is replaced, and the link stays. Refuses a folder, a
/// named pipe, a device, a dangling link, and a file that may not be written.
class OutputFile {
 public:
  /// @throws Error invalid_argument naming the file and why it cannot be written
  explicit OutputFile(const std::filesystem::path& path);
  /// Removes the file unless commit() was called.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Appends to the file. @throws Error
  void write(std::span<const std::byte> bytes);
  /// Renames the complete file to its path. @throws Error
  void commit();

  /// Refuses a path that cannot be written, before any work is done. @throws Error as the constructor
  static void require_writable(const std::filesystem::path& path) { const OutputFile probe(path); }

  /// Removes unfinished files. For a signal handler that ends the process, where it is safe.
  static void remove_unfinished() noexcept;

 private:
  void overwrite();
  void forget() noexcept;

  std::filesystem::path target_, temporary_;
  int descriptor_ = -1;
};

}  // namespace hashevict::engine
