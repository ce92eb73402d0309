/* A program that waits begins a fragment only if its share has room for it. */
#include "marlserve/client/outbox.h"

#include "cases.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

namespace marlserve {
namespace {

using cases::recording;
constexpr std::size_t any_number = std::numeric_limits<std::size_t>::max();

struct Shared {
    explicit Shared(WhenFull when_full = WhenFull::wait, std::int64_t send_frequency = 1)
        : outbox(settings_with(when_full, send_frequency), std::make_shared<Books>()) {
        outbox.share(10);
    }

    static ClientSettings settings_with(WhenFull when_full, std::int64_t send_frequency) {
        ClientSettings settings;
        settings.when_full = when_full;
        settings.send_frequency = send_frequency;
        return settings;
    }

    Outbox outbox;
};

/* A thread that wants to begin a fragment. */
struct Beginner {
    explicit Beginner(Outbox &outbox) : thread([this, &outbox] {
        room = outbox.room(1);
        has_begun = true;
    }) {}
    ~Beginner() {
        if (thread.joinable()) thread.join();
    }

    bool waits() const {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return !has_begun;
    }

    std::atomic<bool> has_begun{false};
    std::size_t room = 0;
    std::thread thread;
};

TEST(Shares, EpisodesSideBySideHaveEqualParts) {
    Shared c;
    EXPECT_EQ(c.outbox.room(1), 10U);
    EXPECT_EQ(c.outbox.room(4), 2U);
    EXPECT_EQ(c.outbox.room(40), 1U);
    c.outbox.put(recording(3));
    EXPECT_EQ(c.outbox.room(1), 7U);
    c.outbox.share(0);
    EXPECT_EQ(c.outbox.room(1), any_number);
}

TEST(Shares, NoneIsLargerThanTheBuffer) {
    Shared c;
    c.outbox.share(1'000'000);
    EXPECT_EQ(c.outbox.room(1), 20'000U);
}

TEST(Shares, WhoDoesNotWaitHasAnyNumber) { EXPECT_EQ(Shared(WhenFull::drop).outbox.room(1), any_number); }

TEST(Shares, AFragmentBeginsOnceTheTrainerHasHalfOfTheShare) {
    Shared c;
    c.outbox.put(recording(6));
    Beginner beginner(c.outbox);
    EXPECT_TRUE(beginner.waits());
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    EXPECT_TRUE(beginner.waits()); // it is on its way
    EXPECT_TRUE(c.outbox.take(0.0).empty());
    beginner.thread.join();
    EXPECT_EQ(beginner.room, 10U);
}

TEST(Shares, WhatWaitsForRewardsTakesNothing) {
    Shared c;
    c.outbox.put(recording(8, 1, 60.0));
    EXPECT_EQ(c.outbox.room(1), 10U);
}

TEST(Shares, WhatIsWaitedForGoesAtOnce) {
    Shared c(WhenFull::wait, 100);
    c.outbox.put(recording(6));
    EXPECT_TRUE(c.outbox.take(0.0).empty());
    Beginner beginner(c.outbox);
    EXPECT_TRUE(beginner.waits());
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    EXPECT_TRUE(c.outbox.take(0.0).empty());
}

TEST(Shares, NobodyWaitsForAClientThatIsClosed) {
    Shared c;
    c.outbox.put(recording(6));
    Beginner beginner(c.outbox);
    EXPECT_TRUE(beginner.waits());
    c.outbox.close();
}

} // namespace
} // namespace marlserve
