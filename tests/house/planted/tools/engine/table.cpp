// SPDX-License-Identifier: Apache-2.0
#define TABLE "core/rule.hpp"
#include TABLE
