// SPDX-License-Identifier: Apache-2.0
#include "process.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "engine/file_mapping.hpp"
#include "engine/output_file.hpp"

namespace hashevict::cli {
namespace {

// @return whether it was open
bool keep_open(int descriptor, int flags) {
  if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) return true;
  const int opened = ::open("/dev/null", flags);  // the lowest that is free, so this one
  static_cast<void>(opened);
  return false;
}

void end_by(int signal) {
  engine::OutputFile::remove_unfinished();
  ::raise(signal);  // its handler was removed, so this ends the process
}

void tell(const char* text) {
  static_cast<void>(!::write(STDERR_FILENO, text, std::strlen(text)));
}

void explain_bus_error(int signal, siginfo_t* info, void* /*context*/) {
  const char* file = info->si_code > 0 ? engine::FileMapping::name_at(info->si_addr) : nullptr;
  if (file == nullptr) {  // a defect: crash as one
    std::signal(signal, SIG_DFL);
    return;
  }
  tell("hashevict: ");
  tell(file);
  tell(": was cut while it was read\n");
  engine::OutputFile::remove_unfinished();
  ::_exit(2);
}

// An ignored signal, as under nohup, stays ignored.
void end_tidily_by(int signal) {
  struct sigaction present {};
  if (::sigaction(signal, nullptr, &present) != 0 || present.sa_handler == SIG_IGN) return;
  struct sigaction action {};
  action.sa_handler = end_by;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_NODEFER;
  ::sigaction(signal, &action, nullptr);
}

}  // namespace

bool prepare_process() {
  keep_open(STDIN_FILENO, O_RDONLY);
  const bool can_print = keep_open(STDOUT_FILENO, O_RDONLY);  // printing then fails
  keep_open(STDERR_FILENO, O_WRONLY);
  for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU}) end_tidily_by(signal);
  std::signal(SIGXFSZ, SIG_IGN);
  struct sigaction action {};
  action.sa_sigaction = explain_bus_error;
  action.sa_flags = SA_SIGINFO;
  ::sigaction(SIGBUS, &action, nullptr);
  return can_print;
}

}  // namespace hashevict::cli
