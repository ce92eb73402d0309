/* What fails is tried again, as long as there is time, and complained of once. */
#include "marlserve/client/patience.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

namespace marlserve {
namespace {

TEST(Patience, ItIsTriedAgain) {
    std::vector<std::string> said;
    Patience patience([&](const std::string &what) { said.push_back(what); });
    int tries = 0;
    EXPECT_TRUE(patience.done(
        [&] {
            if (++tries < 3) throw std::runtime_error("away");
        },
        Patience::Until::closing));
    EXPECT_EQ(tries, 3);
    EXPECT_EQ(said, std::vector<std::string>{"away"});
    EXPECT_EQ(patience.trouble(), "");
}

TEST(Patience, ItEndsWhenThereIsNoMoreTime) {
    Patience patience([](const std::string &) {});
    std::atomic<int> tries{0};
    std::thread trying([&] {
        EXPECT_FALSE(patience.done(
            [&] {
                tries++;
                throw std::runtime_error("away");
            },
            Patience::Until::closing));
    });
    while (tries < 2) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    patience.close(60.0);
    trying.join();
    EXPECT_TRUE(patience.done([] {}, Patience::Until::flushed)); // there is still time for that
    EXPECT_FALSE(patience.done([] {}, Patience::Until::closing));
}

} // namespace
} // namespace marlserve
