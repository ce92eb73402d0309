/* What waits, what is lost, and what it is when it leaves. */
#include "marlserve/client/outbox.h"

#include "cases.h"
#include "saying.h"
#include "trainer.pb.h"

#include <thread>

namespace marlserve {
namespace {

using cases::recording;
using Lost = std::map<std::string, std::uint64_t>;

ClientSettings settings_with(std::int64_t buffer_steps, WhenFull when_full = WhenFull::drop) {
    ClientSettings settings;
    settings.most_steps = 10;
    settings.buffer_steps = buffer_steps;
    settings.when_full = when_full;
    settings.default_reward = -1.0;
    return settings;
}

struct Case {
    explicit Case(const ClientSettings &settings) : books(std::make_shared<Books>()), outbox(settings, books) {}
    std::shared_ptr<Books> books;
    Outbox outbox;
};

std::vector<float> rewards_of(const Recording &recording) {
    pb::Fragment fragment;
    recording.write(&fragment);
    const std::string &data = fragment.parts(0).rewards().data();
    const auto *numbers = reinterpret_cast<const float *>(data.data());
    return {numbers, numbers + data.size() / sizeof(float)};
}

TEST(Outbox, TheOldestIsLostWhenThereIsNoRoom) {
    Case c(settings_with(10));
    for (std::size_t steps : {4, 5, 3}) c.outbox.put(recording(steps));
    EXPECT_EQ(c.outbox.lost(), (Lost{{"full", 4}}));
    const auto taken = c.outbox.take(0.0);
    ASSERT_EQ(taken.size(), 2U);
    EXPECT_EQ(taken[0]->count(), 5U);
    EXPECT_EQ(taken[1]->count(), 3U);
    EXPECT_TRUE(c.outbox.take(0.0).empty());
}

TEST(Outbox, AFragmentHasRoomInAnyCase) {
    Case c(settings_with(10));
    c.outbox.put(recording(40));
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    EXPECT_EQ(c.outbox.all_lost(), 0U);
}

TEST(Outbox, AProgramThatWaitsGoesOnWhenThereIsRoom) {
    Case c(settings_with(10, WhenFull::wait));
    c.outbox.put(recording(8));
    std::atomic<bool> is_in{false};
    std::thread program([&] {
        c.outbox.put(recording(8));
        is_in = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    EXPECT_FALSE(is_in);
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    program.join();
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    EXPECT_EQ(c.outbox.all_lost(), 0U);
}

TEST(Outbox, NoMoreIsHeldThanTheTrainerCanUse) {
    Case c(settings_with(1'000));
    auto contract = cases::contract();
    contract->most_staleness = 2.0;
    contract->capacity_steps = 20;
    c.outbox.hold(*contract);
    for (int i = 0; i < 3; i++) c.outbox.put(recording(5));
    EXPECT_EQ(c.outbox.lost(), (Lost{{"full", 5}}));
}

TEST(Outbox, UnknownRewardsAreWaitedForAndThenTheDefault) {
    Case c(settings_with(100));
    const auto late = recording(3, 1, 60.0), due = recording(2, 1, 0.05);
    c.outbox.put(late);
    EXPECT_TRUE(c.outbox.take(0.0).empty());
    c.outbox.put(due);
    EXPECT_TRUE(c.outbox.take(0.1).empty()); // it keeps its place behind the first one
    EXPECT_TRUE(late->tell(2, 5.0));
    const auto taken = c.outbox.take(1.0);
    ASSERT_EQ(taken.size(), 2U);
    EXPECT_EQ(rewards_of(*taken[0]), (std::vector<float>{1, 1, 5}));
    EXPECT_EQ(rewards_of(*taken[1]), (std::vector<float>{1, -1}));
    EXPECT_EQ(c.outbox.defaulted(), 1U);
    EXPECT_FALSE(late->tell(2, 6.0));
}

TEST(Outbox, SeveralGoTogetherUnlessTheyLinger) {
    ClientSettings settings = settings_with(100);
    settings.send_frequency = 2;
    Case c(settings);
    c.outbox.put(recording(1));
    EXPECT_TRUE(c.outbox.take(0.0).empty());
    EXPECT_EQ(c.outbox.take(3.0).size(), 1U); // after a second
    c.outbox.put(recording(1));
    c.outbox.put(recording(1));
    EXPECT_EQ(c.outbox.take(0.0).size(), 2U);
}

TEST(Outbox, WhatIsThereOnCloseGoesOrIsCounted) {
    Case c(settings_with(100));
    c.outbox.put(recording(3, 3, 60.0));
    c.outbox.close();
    EXPECT_EQ(c.outbox.take(0.0).size(), 1U);
    c.outbox.put(recording(2));
    c.outbox.give_up();
    c.outbox.put(recording(4));
    EXPECT_EQ(c.outbox.lost(), (Lost{{"unsent", 6}}));
}

TEST(Recording, WhatWasEarnedBeforeIsKnownInOrder) {
    const auto life = std::make_shared<Life>();
    const auto first = recording(3, life), second = recording(2, life);
    first->seal(0.0), second->seal(0.0);
    pb::Fragment fragment;
    second->write(&fragment);
    EXPECT_EQ(fragment.first_step(), 3U);
    EXPECT_EQ(fragment.parts(0).return_before(), 3.0);
    EXPECT_EQ(fragment.parts(0).observations().shape(0), 3U);
}

TEST(Recording, RewardsAreFiniteAndOfStepsThatThereAre) {
    const auto made = recording(3, 3, 60.0);
    EXPECT_SAYS(made->tell(0, std::numeric_limits<double>::infinity()), "it must be finite");
    EXPECT_SAYS(made->tell(0, 1e10), "within 1e9");
    EXPECT_FALSE(made->tell(3, 1.0));
    EXPECT_TRUE(made->tell(0, 1.0));
    EXPECT_FALSE(made->is_complete());
}

} // namespace
} // namespace marlserve
