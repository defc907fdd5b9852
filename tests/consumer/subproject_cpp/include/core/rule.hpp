// SPDX-License-Identifier: Apache-2.0
#error "a header of the engine, not of the library"
