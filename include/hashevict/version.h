/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file version.h
 * The version of these headers, and the visibility of the functions that they declare.
 */
#ifndef HASHEVICT_VERSION_H
#define HASHEVICT_VERSION_H

#define HASHEVICT_VERSION_MAJOR 0
#define HASHEVICT_VERSION_MINOR 2
#define HASHEVICT_VERSION_PATCH 0

/* HASHEVICT_HIDDEN is defined by packages of a static library that was built with -DHASHEVICT_HIDDEN=ON. */
#if defined(_WIN32)
#define HASHEVICT_API
#elif defined(HASHEVICT_HIDDEN) && (defined(__GNUC__) || defined(__clang__))
#define HASHEVICT_API __attribute__((visibility("hidden")))
#elif defined(__GNUC__) || defined(__clang__)
#define HASHEVICT_API __attribute__((visibility("default")))
#else
#define HASHEVICT_API
#endif

#endif /* HASHEVICT_VERSION_H */
