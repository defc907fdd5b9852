// SPDX-License-Identifier: Apache-2.0
#include "engine/output_file.hpp"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "refusal.hpp"
#include "temporary_folder.hpp"

namespace hashevict::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string content_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

void write_all(const fs::path& path, const std::string& content) {
  OutputFile file(path);
  file.write(bytes_of(content));
  file.commit();
}

std::string refused(const fs::path& path) {
  const std::string message = refusal([&] { OutputFile::require_writable(path); }, Status::invalid_argument);
  EXPECT_THAT(message, HasSubstr(path.string()));
  return message;
}

TEST(OutputFile, AppearsWhenItIsComplete) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  OutputFile file(path);
  file.write(bytes_of("af"));
  file.write(bytes_of("ter"));
  EXPECT_EQ(content_of(path), "before");
  file.commit();
  EXPECT_EQ(content_of(path), "after");
  EXPECT_EQ(folder.files().size(), 1U);
}

TEST(OutputFile, LeavesNothingWithoutCommit) {
  const TemporaryFolder folder;
  OutputFile(folder.path() / "x").write(bytes_of("half"));
  OutputFile::require_writable(folder.path() / "x");
  EXPECT_EQ(folder.files().size(), 0U);
}

TEST(OutputFile, SparesFilesWithNamesLikeItsOwn) {
  const TemporaryFolder folder;
  const fs::path first = folder.write("x.new", "mine");
  const fs::path second = folder.write("x.new." + std::to_string(::getpid()), "mine too");
  write_all(folder.path() / "x", "new");
  EXPECT_EQ(content_of(folder.path() / "x"), "new");
  EXPECT_EQ(content_of(first), "mine");
  EXPECT_EQ(content_of(second), "mine too");
  EXPECT_EQ(folder.files().size(), 3U);
}

TEST(OutputFile, FollowsALinkToARegularFile) {
  const TemporaryFolder folder;
  const fs::path file = folder.write("file", "before");
  fs::create_directory(folder.path() / "elsewhere");
  fs::create_symlink("../file", folder.path() / "elsewhere" / "link");
  write_all(folder.path() / "elsewhere" / "link", "after");
  EXPECT_TRUE(fs::is_symlink(folder.path() / "elsewhere" / "link"));
  EXPECT_EQ(content_of(file), "after");
}

TEST(OutputFile, WhatIsNoRegularFileIsRefused) {
  const TemporaryFolder folder;
  ASSERT_EQ(::mkfifo((folder.path() / "pipe").c_str(), 0600), 0);
  fs::create_directory(folder.path() / "folder");
  fs::create_symlink("pipe", folder.path() / "to-pipe");
  fs::create_symlink("missing", folder.path() / "to-nothing");
  EXPECT_THAT(refused(folder.path() / "pipe"), HasSubstr("not a regular file"));
  EXPECT_THAT(refused(folder.path() / "to-pipe"), HasSubstr("not a regular file"));
  EXPECT_THAT(refused("/dev/null"), HasSubstr("not a regular file"));
  EXPECT_THAT(refused(folder.path() / "folder"), HasSubstr("is a folder"));
  EXPECT_THAT(refused(folder.path() / "to-nothing"), HasSubstr("link to nothing"));
  EXPECT_TRUE(fs::is_fifo(folder.path() / "pipe"));
  EXPECT_EQ(folder.files().size(), 4U);
}

TEST(OutputFile, PlaceThatCannotBeWrittenIsRefusedWithTheReason) {
  const TemporaryFolder folder;
  folder.write("file", "");
  EXPECT_THAT(refused(folder.path() / "missing" / "x"), HasSubstr("folder does not exist"));
  EXPECT_THAT(refused(folder.path() / "file" / "x"), HasSubstr("Not a directory"));
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(folder.path() / "file", fs::perms::owner_read);
  EXPECT_THAT(refused(folder.path() / "file"), HasSubstr("Permission denied"));
  fs::create_directory(folder.path() / "closed");
  fs::permissions(folder.path() / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_THAT(refused(folder.path() / "closed" / "x"), HasSubstr("Permission denied"));
}

struct stat status_of(const fs::path& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status;
}

mode_t mode_of(const fs::path& path) {
  return status_of(path).st_mode & 07777U;
}

TEST(OutputFile, KeepsTheModeOfWhatItReplaces) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  for (const mode_t mode : {0600U, 0640U, 0755U, 0666U, 0200U}) {
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    write_all(path, "after " + std::to_string(mode));
    EXPECT_EQ(mode_of(path), mode);
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
    EXPECT_EQ(content_of(path), "after " + std::to_string(mode));
  }
}

TEST(OutputFile, NewFileFollowsTheUmask) {
  const TemporaryFolder folder;
  const mode_t before = ::umask(027);
  write_all(folder.path() / "x", "new");
  ::umask(before);
  EXPECT_EQ(mode_of(folder.path() / "x"), 0640U);
}

TEST(OutputFile, UnfinishedContentIsAsPrivateAsWhatItReplaces) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  const OutputFile file(path);
  for (const auto& entry : fs::directory_iterator(folder.path())) EXPECT_EQ(mode_of(entry.path()), 0600U);
}

TEST(OutputFile, KeepsTheOwnerOfWhatItReplaces) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may give files away";
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  ASSERT_EQ(::chown(path.c_str(), 1234, 4321), 0);
  write_all(path, "after");
  EXPECT_EQ(status_of(path).st_uid, 1234U);
  EXPECT_EQ(status_of(path).st_gid, 4321U);
}

TEST(OutputFile, KeepsAllNamesOfAFile) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "what was there before, and was longer");
  fs::create_hard_link(path, folder.path() / "other");
  write_all(path, "after");
  EXPECT_EQ(content_of(folder.path() / "other"), "after");
  EXPECT_EQ(content_of(path), "after");
  EXPECT_EQ(status_of(path).st_nlink, 2U);
  EXPECT_EQ(folder.files().size(), 2U);
}

TEST(OutputFile, KeepsExtendedAttributes) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("x", "before");
  if (::setxattr(path.c_str(), "user.origin", "lab", 3, 0) != 0) GTEST_SKIP() << "this file system has none";
  write_all(path, "after");
  std::string value(3, ' ');
  EXPECT_EQ(::getxattr(path.c_str(), "user.origin", value.data(), value.size()), 3);
  EXPECT_EQ(value, "lab");
}

TEST(OutputFile, UnfinishedFilesAreRemovedOnRequest) {
  const TemporaryFolder folder;
  OutputFile first(folder.path() / "first");
  const OutputFile second(folder.path() / "second");
  write_all(folder.path() / "done", "kept");
  OutputFile::remove_unfinished();
  EXPECT_EQ(folder.files().size(), 1U);
  EXPECT_EQ(content_of(folder.path() / "done"), "kept");
  EXPECT_THROW(first.commit(), Error) << "what was removed cannot be put into its place";
}

}  // namespace
}  // namespace hashevict::engine
