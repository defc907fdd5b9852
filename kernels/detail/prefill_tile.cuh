// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/detail/attend_shape.cuh"
#include "kernels/detail/prefill_row.cuh"

/// A prompt's attention in tiles: the queries of neighbouring tokens of a row at one KV head, which share their keys.
namespace hashevict::kernels {

inline constexpr int32_t kTileQueries = 64;  ///< queries of a tile

/// Tokens of a tile, for groups of `group_size` queries.
HASHEVICT_HOST_DEVICE constexpr int32_t tile_tokens(int32_t group_size) {
  return group_size < kTileQueries ? kTileQueries / group_size : 1;
}

/// Tiles that share the queries of a token.
HASHEVICT_HOST_DEVICE constexpr int32_t tiles_of_group(int32_t group_size) {
  return core::num_parts(group_size, kTileQueries);
}

/// Tiles of a batch, whatever the lengths of its rows: row r owns those from `cu_seqlens[r] / tile_tokens + r` on, at
/// least as many as it needs, so a block finds its row by bisection.
HASHEVICT_HOST_DEVICE inline int64_t num_tiles(const Batch& batch, int32_t group_size) {
  if (batch.cu_seqlens == nullptr || batch.rows == 0) return batch.rows;
  return int64_t{batch.tokens} / tile_tokens(group_size) + batch.rows;
}

/// Queries of one KV head, of tokens `first` to `end - 1` of a row. Query number n of the tile is query
/// `first_query + n % queries` of the group, of token `first + n / queries`.
struct QueryTile {
  int32_t kv_head;
  int32_t first;
  int32_t end;
  int32_t first_query;
  int32_t queries;  ///< of each token

  /// Queries of the tile.
  [[nodiscard]] HASHEVICT_DEVICE int32_t count() const { return (end - first) * queries; }
  /// Index in the row of the token of query number n; tokens behind the end for queries that do not exist.
  [[nodiscard]] HASHEVICT_DEVICE int32_t token(int32_t n) const { return first + n / queries; }
};

/// A row's place among the tiles.
HASHEVICT_DEVICE int64_t first_tile(const Batch& batch, int32_t row, int32_t tokens) {
  return int64_t{simt::load(batch.cu_seqlens + row) / tokens} + row;
}

/// The row of a tile, and the tile's number among those of its row.
struct TileOfRow {
  int32_t row;
  int64_t index;
};

HASHEVICT_DEVICE TileOfRow tile_of_row(const Batch& batch, int32_t tile, int32_t tokens) {
  if (batch.cu_seqlens == nullptr) return {tile, 0};
  int32_t row = 0;
  for (int32_t end = batch.rows; end - row > 1;) {
    const int32_t middle = row + (end - row) / 2;
    (first_tile(batch, middle, tokens) <= tile ? row : end) = middle;
  }
  return {row, tile - first_tile(batch, row, tokens)};
}

/// The tile of a block, and its row; a tile without tokens if the block has no work. Blocks start with a row's last
/// tiles, which have the most keys.
HASHEVICT_DEVICE QueryTile tile_of_block(const PrefillParams& p, PrefillRow& row) {
  const core::Shape& shape = p.evict.layer.shape;
  const Batch& batch = p.evict.batch;
  const int32_t slices = tiles_of_group(shape.group_size);
  QueryTile tile{simt::block_y() / slices, 0, 0, simt::block_y() % slices * kTileQueries, 0};
  const int32_t left = shape.group_size - tile.first_query;
  tile.queries = left < kTileQueries ? left : kTileQueries;
  const int32_t tokens = tile_tokens(shape.group_size);
  const auto last = static_cast<int32_t>(num_tiles(batch, shape.group_size)) - 1;
  const TileOfRow found = tile_of_row(batch, last - simt::block_x(), tokens);
  row = prefill_row(p, found.row, tile.kv_head);
  if (row.plan == Plan::skip || found.index < 0 || found.index * tokens >= row.num_tokens) return tile;
  tile.first = static_cast<int32_t>(found.index) * tokens;
  tile.end = row.num_tokens - tile.first < tokens ? row.num_tokens : tile.first + tokens;
  return tile;
}

}  // namespace hashevict::kernels
