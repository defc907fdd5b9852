// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "support/backend_test.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(PageLists);

/// A bad list for the last row of a table.
struct BadList {
  const char* what;
  int32_t first, end;
};

/// @param first entry of the row, which has 5, the last of the table
std::vector<BadList> bad_lists(int32_t first) {
  return {{"ends behind the table", first + 1, first + 6},
          {"lies behind the table", 1 << 28, (1 << 28) + 5},
          {"begins before the table", -1, 4},
          {"has too few pages", first, first + 4},
          {"runs backwards", first + 5, first}};
}

/// Three sequences of 24 slots in pages of 5. Lists are back to back, so a bad list also damages the end of its
/// neighbour's: that of sequence 1, which is unused, or of the other head of sequence 2.
Config config_of_lists() {
  Config config = small_config();
  config.shape.num_sequences = 3;
  return config;
}

/// A table of back-to-back lists, and its last row: of sequence 2, or of its last head.
struct Lists {
  Arrangement arrangement;
  int32_t last_row;
};
constexpr Lists kLists[] = {{Arrangement::csr_pages, 2}, {Arrangement::csr_head_pages, 5}};

/// Runs the operation on a row of sequence 2, whose page list is bad, beside a good row of sequence 0.
void expect_refused_or_skipped(Backend backend, const Lists& lists, Operation operation, const BadList& list) {
  const Config config = config_of_lists();
  TestCache cache{backend, config, lists.arrangement};
  TestCache expected{backend, config, lists.arrangement};
  Inputs inputs{1};
  const Tokens prompt = inputs.draw(config, 22);
  for (TestCache* const each : {&cache, &expected}) each->run(Operation::append, {{0, prompt}, {2, prompt}});
  const State before = cache.state(0, 2);
  const Batch batch{{2, inputs.draw(config, 1)}, {0, inputs.draw(config, 1)}};
  cache.set_page_list(lists.last_row, list.first, list.end);
  if (backend == Backend::cpu) {
    try {
      cache.run(operation, batch);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.status(), Status::invalid_argument) << error.what();
    }
  } else {  // only the device reads the list
    const std::vector<Outcome> outcomes = cache.run(operation, batch);
    expect_same(outcomes[1], expected.run(operation, {{-1, batch[0].tokens}, batch[1]})[1]);
    for (const float element : outcomes[0].out) EXPECT_TRUE(std::isnan(element)) << "was written";
    for (const int32_t slot : outcomes[0].slots) EXPECT_LT(slot, 0);
  }
  expect_same(cache.state(0, 2), before);
}

TEST_P(PageLists, OutsideOfTheTableAreRefusedOrSkipped) {
  for (const Lists& lists : kLists) {
    for (const Operation operation : kOperations) {
      for (const BadList& list : bad_lists(5 * lists.last_row)) {
        SCOPED_TRACE(testing::Message() << lists.arrangement << ", operation " << operation << ", a list that "
                                        << list.what);
        expect_refused_or_skipped(GetParam(), lists, operation, list);
      }
    }
  }
}

TEST_P(PageLists, MayHaveOnlyThePagesThatAreUsed) {
  const Config config = config_of_lists();
  for (const Lists& lists : kLists) {
    TestCache cache{GetParam(), config, lists.arrangement};
    TestCache expected{GetParam(), config, lists.arrangement};
    Inputs inputs{2};
    const Tokens first = inputs.draw(config, 13);
    const Tokens next = inputs.draw(config, 2);
    cache.set_page_list(lists.last_row, 5 * lists.last_row, 5 * lists.last_row + 3);  // 15 slots
    for (TestCache* const each : {&cache, &expected}) each->run(Operation::append, {{2, first}});
    expect_same(cache.run(Operation::decode, {{2, next}}).front(),
                expected.run(Operation::decode, {{2, next}}).front());
    expect_same(cache.state(0, 2), expected.state(0, 2));
  }
}

TEST_P(PageLists, ThatAreBadAreRefusedByWhatReadsThemOnTheHost) {
  const Config config = config_of_lists();
  for (const Lists& lists : kLists) {
    TestCache cache{GetParam(), config, lists.arrangement};
    cache.run(Operation::append, {{2, Inputs{3}.draw(config, 22)}});
    const std::vector<std::byte> saved = cache.cache().save(2, Stream{});
    cache.set_page_list(lists.last_row, 5 * lists.last_row + 1, 5 * lists.last_row + 6);
    EXPECT_THROW(static_cast<void>(cache.cache().save(2, Stream{})), Error);
    EXPECT_THROW(cache.cache().load(2, saved.data(), saved.size(), Stream{}), Error);
  }
}

/// An engine's kernel for ragged batches: a request is a list of pages, its length and some query heads, which all read
/// the same keys. It knows nothing of sequences, layers and KV heads.
struct Request {
  const int32_t* pages;
  int32_t length;
  std::span<const float> queries;  ///< [queries, head_dim]
};

std::vector<float> read_request(const Request& request, const Tensor& keys, const Tensor& values, Backend backend) {
  const auto dim = static_cast<std::size_t>(keys.shape[2]);
  const auto row = [&](const Tensor& of, int32_t slot) {
    const auto page_size = static_cast<int32_t>(of.shape[1]);
    const int64_t offset = request.pages[slot / page_size] * of.stride[0] + slot % page_size * of.stride[1];
    std::vector<float> elements(dim);
    const auto bytes = download(backend, of.data_as<float>() + offset, dim * sizeof(float));
    std::memcpy(elements.data(), bytes.data(), bytes.size());
    return elements;
  };
  std::vector<float> out;
  for (std::size_t first = 0; first < request.queries.size(); first += dim) {
    std::vector<double> sum(dim);
    double weights = 0.0;
    for (int32_t slot = 0; slot < request.length; ++slot) {
      const std::vector<float> key = row(keys, slot);
      const std::vector<float> value = row(values, slot);
      double logit = 0.0;
      for (std::size_t e = 0; e < dim; ++e) logit += double{request.queries[first + e]} * double{key[e]};
      const double weight = std::exp(logit / std::sqrt(static_cast<double>(dim)));
      weights += weight;
      for (std::size_t e = 0; e < dim; ++e) sum[e] += weight * double{value[e]};
    }
    for (const double element : sum) out.push_back(static_cast<float>(element / weights));
  }
  return out;
}

TEST_P(PageLists, OfEachHeadAreRequestsForAForeignKernel) {
  SCOPED_TRACE("seed 4");
  for (const Arrangement arrangement : {Arrangement::padded_head_pages, Arrangement::csr_head_pages}) {
    const Config config = ragged_config();
    const auto group = static_cast<std::size_t>(config.shape.num_qo_heads / config.shape.num_kv_heads);
    const auto dim = static_cast<std::size_t>(config.shape.head_dim);
    TestCache cache{GetParam(), config, arrangement};
    Inputs inputs{4};
    Options options;
    for (; options.layer < config.shape.num_layers; ++options.layer) {
      cache.run(Operation::append, {{0, inputs.draw(config, 50)}, {1, inputs.draw(config, 20)}}, options);
      const Batch batch{{0, inputs.draw(config, 1)}, {1, inputs.draw(config, 1)}};
      const std::vector<Outcome> own = cache.run(Operation::attend, batch, options);
      for (int32_t sequence = 0; sequence < 2; ++sequence) {
        const auto s = static_cast<std::size_t>(sequence);
        const State state = cache.state(options.layer, sequence);
        for (int32_t head = 0; head < config.shape.num_kv_heads; ++head) {
          const View view = std::as_const(cache.cache()).view(options.layer, head);
          ASSERT_EQ(view.keys.shape[1], config.placement.page_size);
          const std::size_t first = static_cast<std::size_t>(head) * group * dim;
          const Request request{cache.page_list(options.layer, sequence, head),
                                state.lengths[static_cast<std::size_t>(head)],
                                std::span{batch[s].tokens.q}.subspan(first, group * dim)};
          const std::vector<float> read = read_request(request, view.keys, view.values, GetParam());
          for (std::size_t e = 0; e < read.size(); ++e) ASSERT_NEAR(read[e], own[s].out[first + e], 1e-4F);
        }
      }
    }
  }
}

}  // namespace
}  // namespace hashevict::test
