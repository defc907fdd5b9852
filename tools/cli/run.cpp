// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <cerrno>
#include <cstdio>
#include <hashevict/status.hpp>
#include <new>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include "commands.hpp"
#include "process.hpp"
#include "rule_options.hpp"
#include "runtime.hpp"

namespace hashevict::cli {
namespace {

constexpr int kBadInput = 2;
constexpr int kInternal = 1;

// Prints one line on standard error, after the program's name.
int fail(const std::string& program, int code, std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::fprintf(stderr, "%s: %s\n", program.c_str(), message.c_str());
  return code;
}

int exit_code(Status status) {
  return status == Status::internal || status == Status::backend_error ? kInternal : kBadInput;
}

// CLI11's message says only that a command is required.
void require_known_command(const CLI::App& app, int argc, const char* const* argv) {
  const std::vector<const CLI::App*> commands = app.get_subcommands(nullptr);
  if (commands.empty() || argc < 2 || app.get_option_no_throw(argv[1]) != nullptr) return;
  const bool is_option = argv[1][0] == '-';
  std::string message = std::string(argv[1]).append(is_option ? " is not an option here" : " is not a command");
  message.append("; expected one of");
  for (const CLI::App* command : commands) {
    if (command->check_name(argv[1])) return;
    message.append(" ").append(command->get_name());
  }
  throw Error(Status::invalid_argument, message.append(is_option ? " --help --version" : ""));
}

// Refuses empty values: most come from an unset variable, and must not count as an absent option.
void refuse_empty_values(CLI::App& app) {
  const auto check = [](const std::string& value) {
    return std::string(value.empty() ? "expected a value; this one is empty" : "");
  };
  std::vector<CLI::App*> commands = app.get_subcommands(nullptr);
  commands.push_back(&app);
  for (CLI::App* command : commands) {
    for (CLI::Option* option : command->get_options()) option->check(check);
  }
}

// Prints help and version. CLI11 would print them without checking the stream.
int print_on_request(const CLI::App& app, const CLI::ParseError& request) {
  std::ostringstream text;
  const int code = app.exit(request, text, text);
  std::fputs(text.str().c_str(), stdout);
  return code;
}

int parse_and_run(CLI::App& app, int argc, const char* const* argv) {
  app.set_version_flag("--version", app.get_name() + " " + library_version());
  refuse_empty_values(app);
  try {
    require_known_command(app, argc, argv);
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return print_on_request(app, error);
    return fail(app.get_name(), kBadInput, error.what());
  } catch (const Error& error) {
    return fail(app.get_name(), exit_code(error.status()), in_options(error.what()));
  } catch (const std::bad_alloc&) {
    return fail(app.get_name(), kBadInput, "not enough memory for this");
  } catch (const std::exception& error) {
    return fail(app.get_name(), kInternal, error.what());
  }
}

// Flushes stdio, which reports a failed write only then.
int flush(const std::string& program, int code) {
  errno = 0;
  const bool printed = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  const std::string reason = errno != 0 ? ": " + std::generic_category().message(errno) : "";
  if (!printed && code == 0) code = fail(program, kInternal, "standard output cannot be written" + reason);
  return std::ferror(stderr) != 0 && code == 0 ? kInternal : code;
}

}  // namespace

int run(CLI::App& app, int argc, const char* const* argv) {
  const std::string program = app.get_name();
  if (!prepare_process()) {
    return fail(program, kInternal, "standard output is closed: expected somewhere to print to");
  }
  return flush(program, parse_and_run(app, argc, argv));
}

int run(int argc, const char* const* argv) {
  CLI::App app("hashevict: a key-value cache of fixed size for language models", "hashevict");
  app.require_subcommand(1);
  add_demo(app);
  add_replay(app);
  add_generate(app);
  add_info(app);
  return run(app, argc, argv);
}

}  // namespace hashevict::cli
