// SPDX-License-Identifier: Apache-2.0
#include "../../src/core/rule.hpp"
#include "core/rule.hpp"
