// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

#include <cstdio>
#include <hashevict/status.hpp>
#include <new>
#include <string>

#include "commands.hpp"

namespace hashevict::cli {
namespace {

constexpr int kBadInput = 2;
constexpr int kInternal = 1;

int fail(int code, std::string message) {
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  std::fprintf(stderr, "hashevict: %s\n", message.c_str());
  return code;
}

int exit_code(Status status) {
  return status == Status::internal || status == Status::backend_error ? kInternal : kBadInput;
}

std::string version() {
  return std::to_string(HASHEVICT_VERSION_MAJOR) + "." + std::to_string(HASHEVICT_VERSION_MINOR) + "." +
         std::to_string(HASHEVICT_VERSION_PATCH);
}

// CLI11 says only that a command is required.
void require_known_command(const CLI::App& app, int argc, const char* const* argv) {
  if (argc < 2 || app.get_option_no_throw(argv[1]) != nullptr) return;
  const bool is_option = argv[1][0] == '-';
  std::string message = std::string(argv[1]).append(is_option ? " is not an option here" : " is not a command");
  message.append("; expected one of");
  for (const CLI::App* command : app.get_subcommands(nullptr)) {
    if (command->check_name(argv[1])) return;
    message.append(" ").append(command->get_name());
  }
  throw Error(Status::invalid_argument, message.append(is_option ? " --help --version" : ""));
}

// An empty value is most often a variable that was never set: it must not pass for an option that was left out.
void refuse_empty_values(CLI::App& app) {
  const auto check = [](const std::string& value) {
    return std::string(value.empty() ? "expected a value; this one is empty" : "");
  };
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    for (CLI::Option* option : command->get_options()) option->check(check);
  }
}

}  // namespace

int run(int argc, const char* const* argv) {
  CLI::App app("hashevict: a key-value cache of fixed size for language models", "hashevict");
  app.set_version_flag("--version", "hashevict " + version());
  app.require_subcommand(1);
  add_demo(app);
  add_eval(app);
  add_replay(app);
  add_generate(app);
  add_info(app);
  refuse_empty_values(app);
  try {
    require_known_command(app, argc, argv);
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);  // help, version
    return fail(kBadInput, error.what());
  } catch (const Error& error) {
    return fail(exit_code(error.status()), error.what());
  } catch (const std::bad_alloc&) {
    return fail(kBadInput, "not enough memory for this");
  } catch (const std::exception& error) {
    return fail(kInternal, error.what());
  }
}

}  // namespace hashevict::cli
