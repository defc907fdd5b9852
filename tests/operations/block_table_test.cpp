// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "support/backend_test.hpp"
#include "support/test_cache.hpp"

namespace hashevict::test {
namespace {

HASHEVICT_BACKEND_SUITE(PageLists);

/// Sequence 2 has entries [10, 15) of a table with 15 entries.
struct BadList {
  const char* what;
  int32_t first, end;
};
constexpr BadList kBadLists[] = {{"ends behind the table", 11, 16},
                                 {"lies behind the table", 1 << 28, (1 << 28) + 5},
                                 {"begins before the table", -1, 4},
                                 {"has too few pages", 10, 14},
                                 {"runs backwards", 15, 10}};

/// Three sequences of 24 slots in pages of 5. Lists are back to back, so a bad list also damages the end of its
/// neighbour's. That neighbour, sequence 1, is unused.
Config config_of_lists() {
  Config config = small_config();
  config.shape.num_sequences = 3;
  return config;
}

/// Runs the operation on a row of sequence 2, whose page list is bad, beside a good row of sequence 0.
void expect_refused_or_skipped(Backend backend, Operation operation, const BadList& list) {
  const Config config = config_of_lists();
  TestCache cache{backend, config, Arrangement::csr_pages};
  TestCache expected{backend, config, Arrangement::csr_pages};
  Inputs inputs{1};
  const Tokens prompt = inputs.draw(config, 22);
  for (TestCache* const each : {&cache, &expected}) each->run(Operation::append, {{0, prompt}, {2, prompt}});
  const State before = cache.state(0, 2);
  const Batch batch{{2, inputs.draw(config, 1)}, {0, inputs.draw(config, 1)}};
  cache.set_page_list(2, list.first, list.end);
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
  for (const Operation operation : kOperations) {
    for (const BadList& list : kBadLists) {
      SCOPED_TRACE(testing::Message() << "operation " << static_cast<int>(operation) << ", a list that " << list.what);
      expect_refused_or_skipped(GetParam(), operation, list);
    }
  }
}

TEST_P(PageLists, MayHaveOnlyThePagesThatAreUsed) {
  const Config config = config_of_lists();
  TestCache cache{GetParam(), config, Arrangement::csr_pages};
  TestCache expected{GetParam(), config, Arrangement::csr_pages};
  Inputs inputs{2};
  const Tokens first = inputs.draw(config, 13);
  const Tokens next = inputs.draw(config, 2);
  cache.set_page_list(2, 10, 13);  // 15 slots
  for (TestCache* const each : {&cache, &expected}) each->run(Operation::append, {{2, first}});
  expect_same(cache.run(Operation::decode, {{2, next}}).front(), expected.run(Operation::decode, {{2, next}}).front());
  expect_same(cache.state(0, 2), expected.state(0, 2));
}

TEST_P(PageLists, ThatAreBadAreRefusedByWhatReadsThemOnTheHost) {
  const Config config = config_of_lists();
  TestCache cache{GetParam(), config, Arrangement::csr_pages};
  cache.run(Operation::append, {{2, Inputs{3}.draw(config, 22)}});
  const std::vector<std::byte> saved = cache.cache().save(2, Stream{});
  cache.set_page_list(2, 11, 16);
  EXPECT_THROW(static_cast<void>(cache.cache().save(2, Stream{})), Error);
  EXPECT_THROW(cache.cache().load(2, saved.data(), saved.size(), Stream{}), Error);
}

}  // namespace
}  // namespace hashevict::test
