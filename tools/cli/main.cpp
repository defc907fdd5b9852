// SPDX-License-Identifier: Apache-2.0
#include "run.hpp"

int main(int argc, char** argv) {
  return hashevict::cli::run(argc, argv);
}
