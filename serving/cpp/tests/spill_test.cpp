/* What has no room in memory waits on the disk, in order, within bounds, and what is broken is counted. */
#include "marlserve/client/outbox.h"

#include "cases.h"
#include "saying.h"
#include "trainer.pb.h"

#include <filesystem>
#include <fstream>
#include <random>

namespace marlserve {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t much = 1'000'000;

class SpillTest : public testing::Test {
  protected:
    ~SpillTest() override { fs::remove_all(folder_); }

    Spill spill(std::uint64_t most_bytes = much) const { return Spill(folder_.string(), most_bytes); }

    std::size_t files() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator())); }

    void write(const std::string &name, const std::string &data) const { std::ofstream(folder_ / name, std::ios::binary) << data; }

    const fs::path folder_ = fs::temp_directory_path() / ("spill-" + std::to_string(std::random_device{}()));
};

pb::Fragment fragment(std::size_t steps) {
    const auto made = cases::recording(steps);
    made->seal(0.0);
    pb::Fragment fragment;
    made->write(&fragment);
    return fragment;
}

std::vector<std::size_t> lengths(const std::vector<pb::Fragment> &fragments) {
    std::vector<std::size_t> lengths;
    for (const pb::Fragment &each : fragments) lengths.push_back(each.versions().shape(0));
    return lengths;
}

using Lengths = std::vector<std::size_t>;

TEST_F(SpillTest, TheOldestComeFirstAlsoInTheNextRun) {
    std::size_t unreadable = 0;
    Spill first = spill();
    for (std::size_t steps : {3, 4, 5}) EXPECT_TRUE(first.put(fragment(steps)));
    EXPECT_TRUE(fs::exists(folder_ / "00000000000000000002.fragment"));
    EXPECT_EQ(lengths(first.take(4, *cases::contract(), &unreadable)), (Lengths{3, 4}));
    Spill second = spill();
    EXPECT_EQ(second.size(), 1U);
    EXPECT_TRUE(second.put(fragment(6)));
    EXPECT_EQ(lengths(second.take(much, *cases::contract(), &unreadable)), (Lengths{5, 6}));
    EXPECT_EQ(unreadable, 0U);
    EXPECT_EQ(files(), 0U);
}

TEST_F(SpillTest, ThereAreNoMoreBytesThanAllowed) {
    const std::size_t bytes = fragment(3).ByteSizeLong();
    std::size_t unreadable = 0;
    Spill one = spill(2 * bytes);
    EXPECT_TRUE(one.put(fragment(3)));
    EXPECT_TRUE(one.put(fragment(3)));
    EXPECT_FALSE(one.put(fragment(3)));
    EXPECT_EQ(files(), 2U);
    Spill next = spill(2 * bytes);
    EXPECT_FALSE(next.put(fragment(3)));
    next.take(1, *cases::contract(), &unreadable);
    EXPECT_TRUE(next.put(fragment(3)));
}

TEST_F(SpillTest, WhatIsBrokenIsCountedAndTheRestIsSent) {
    spill().put(fragment(3));
    const std::string whole = fragment(4).SerializeAsString();
    write("00000000000000000001.fragment", whole.substr(0, whole.size() / 2));
    write("00000000000000000002.fragment", "");
    write("00000000000000000003.fragment", fragment(2'000).SerializeAsString()); // the contract allows 1,000
    write("00000000000000000004.fragment", whole);
    write("00000000000000000005.part", whole);
    write("99999999999999999999.fragment", whole);
    std::size_t unreadable = 0;
    Spill found = spill();
    EXPECT_EQ(lengths(found.take(much, *cases::contract(), &unreadable)), (Lengths{3, 4}));
    EXPECT_EQ(unreadable, 3U);
    EXPECT_EQ(files(), 2U); // which are nobody's
}

TEST_F(SpillTest, AnOutboxLosesWhatTheDiskHasNoRoomFor) {
    ClientSettings settings;
    settings.most_steps = 10;
    settings.buffer_steps = 10;
    settings.when_full = WhenFull::spill;
    settings.spill_folder = folder_.string();
    settings.spill_bytes = static_cast<std::int64_t>(2 * fragment(5).ByteSizeLong() + 10);
    Outbox outbox(settings, std::make_shared<Books>());
    for (int i = 0; i < 5; i++) outbox.put(cases::recording(5));
    EXPECT_EQ(outbox.lost(), (std::map<std::string, std::uint64_t>{{"full", 5}}));
    EXPECT_EQ(lengths(outbox.take_spilled(*cases::contract())), (Lengths{5, 5}));
    EXPECT_EQ(outbox.take(0.0).size(), 2U);
    write("00000000000000000009.fragment", "broken");
    Outbox next(settings, std::make_shared<Books>());
    EXPECT_TRUE(next.take(60.0).empty()); // at once
    EXPECT_TRUE(next.take_spilled(*cases::contract()).empty());
    EXPECT_EQ(next.lost(), (std::map<std::string, std::uint64_t>{{"unreadable", 1}}));
}

TEST_F(SpillTest, AFolderIsAskedForAndMustBeThere) {
    ClientSettings settings;
    settings.when_full = WhenFull::spill;
    EXPECT_SAYS(settings.check(), "spill_folder is ''");
    settings.when_full = WhenFull::drop;
    settings.spill_folder = "somewhere";
    EXPECT_SAYS(settings.check(), "spill_folder is 'somewhere'");
    std::ofstream(folder_) << "a file";
    EXPECT_SAYS(spill(), "cannot be made or read");
}

} // namespace
} // namespace marlserve
