#pragma once

#include "core/rule.hpp"
#include "cpu/scan.hpp"
