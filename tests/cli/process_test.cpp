// SPDX-License-Identifier: Apache-2.0
// Signals remove unfinished files; a file that is truncated while it is read ends the process with a message.
#include "cli/process.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <hashevict/status.hpp>
#include <string>
#include <vector>

#include "command.hpp"
#include "engine/file_mapping.hpp"
#include "engine/output_file.hpp"

namespace hashevict::test {
namespace {

// The exit of a child that is set up like the command. It ends by _exit, without destructors.
int status_of_child(const std::function<void()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    cli::prepare_process();
    action();
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

TEST(Signal, LeavesNoUnfinishedFileAndEndsAsEver) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    const TemporaryFolder folder;
    const int status = status_of_child([&] {
      engine::OutputFile file(folder.path("out"));
      file.write(std::as_bytes(std::span(std::string_view("half"))));
      ::raise(signal);
    });
    ASSERT_TRUE(WIFSIGNALED(status)) << signal;
    EXPECT_EQ(WTERMSIG(status), signal);
    EXPECT_TRUE(folder.files().empty()) << signal;
  }
}

TEST(Signal, ThatIsIgnoredStaysSo) {
  const int status = status_of_child([] {
    std::signal(SIGHUP, SIG_IGN);
    cli::prepare_process();
    ::raise(SIGHUP);
  });
  EXPECT_TRUE(WIFEXITED(status));
}

TEST(Signal, FileBeyondItsLimitIsAnErrorOfWriting) {
  const TemporaryFolder folder;
  const int status = status_of_child([&] {
    const rlimit limit{1000, 1000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(3);
    try {
      engine::OutputFile file(folder.path("out"));
      file.write(std::vector<std::byte>(5000));
    } catch (const Error& error) {
      ::_exit(std::string(error.what()).find("File too large") == std::string::npos ? 4 : 5);
    }
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 5);
  EXPECT_TRUE(folder.files().empty());
}

// A child's message on standard error, and its exit.
std::pair<std::string, int> complaint_of_child(const std::function<void()>& action) {
  const TemporaryFolder folder;
  const std::string errors = folder.path("errors");
  write_text(errors, "");
  const int status = status_of_child([&] {
    ::dup2(::open(errors.c_str(), O_WRONLY), STDERR_FILENO);
    action();
  });
  return {read_text(errors), status};
}

TEST(MappedFile, ThatIsCutEndsInOneLine) {
  const TemporaryFolder folder;
  const std::string path = folder.path("trace");
  write_text(path, std::string(100000, 'x'));
  const auto [message, status] = complaint_of_child([&] {
    const engine::FileMapping file(path);
    const engine::OutputFile unfinished(folder.path("out"));
    std::filesystem::resize_file(path, 10);
    const volatile char last = file.text().back();
    ::_exit(last == 'x' ? 3 : 4);
  });
  ASSERT_TRUE(WIFEXITED(status)) << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 2);
  EXPECT_EQ(message, "hashevict: " + path + ": was cut while it was read\n");
  EXPECT_EQ(folder.files(), std::vector<std::string>{"trace"});
}

TEST(BusError, OfAnotherKindStaysOne) {
  const TemporaryFolder folder;
  const int status = status_of_child([] {
    ::raise(SIGBUS);
    ::raise(SIGBUS);
  });
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGBUS);
}

// An interrupted command leaves no unfinished file.
TEST(Interrupt, OfADemoLeavesNoFolder) {
  const TemporaryFolder folder;
  int errors[2];
  ASSERT_EQ(::pipe(errors), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(errors[1], STDERR_FILENO);
    ::close(errors[0]);
    ::close(errors[1]);
    ::execl(HASHEVICT_COMMAND, HASHEVICT_COMMAND, "demo", "--quick", "--threads", "1", "--out",
            folder.path("a/b").c_str(), nullptr);
    ::_exit(127);
  }
  ::close(errors[1]);
  char first = 0;
  EXPECT_EQ(::read(errors[0], &first, 1), 1) << "progress that is shown while it measures";
  EXPECT_EQ(::kill(child, SIGINT), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  ::close(errors[0]);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGINT);
  EXPECT_TRUE(folder.files().empty());
}

}  // namespace
}  // namespace hashevict::test
