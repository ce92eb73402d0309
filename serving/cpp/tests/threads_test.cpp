/* Programs of several threads, late rewards of another one, and a sender: every step is sent or counted. */
#include "marlserve/client/outbox.h"

#include "cases.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace marlserve {
namespace {

constexpr std::size_t programs = 3, fragments = 200, steps = 5;
constexpr double patience_s = 60.0;

/* Episodes one after the other, whose rewards come later, by id. */
void live(Books &books, Outbox &outbox) {
    const auto life = std::make_shared<Life>();
    for (std::size_t fragment = 0; fragment < fragments; fragment++) {
        const auto recording = std::make_shared<Recording>(cases::contract(), life, "run", std::vector<float>{});
        for (std::size_t step = 0; step < steps; step++) {
            Choice choice;
            choice.action.choices = {1};
            const std::uint64_t id = books.new_id();
            recording->see({0.0F, 0.0F}, {});
            books.decided(id, {recording, recording->add(choice, 1, id)}, 1e-6);
        }
        recording->close(Ending::terminated, patience_s);
        outbox.put(recording);
    }
}

TEST(Threads, EveryStepIsSentOrCounted) {
    ClientSettings settings;
    settings.most_steps = steps;
    settings.buffer_steps = 50 * steps;
    const auto books = std::make_shared<Books>();
    Outbox outbox(settings, books);
    std::atomic<std::size_t> living{programs}, sent{0}, told{0};
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < programs; i++)
        threads.emplace_back([&] {
            live(*books, outbox);
            living--;
        });
    threads.emplace_back([&] { // tells rewards, to those that are not gone
        for (std::uint64_t id = 1; id <= programs * fragments * steps;) {
            if (id > books->decisions()) {
                std::this_thread::yield();
                continue;
            }
            const auto place = books->open(id++);
            if (place && place->recording->tell(place->index, 1.0)) told++;
        }
        outbox.close(); // a reward was told before its step was there to be told of
    });
    threads.emplace_back([&] {
        for (bool is_last = false; !is_last;) {
            is_last = living == 0;
            for (const auto &recording : outbox.take(is_last ? 1.0 : 0.01)) {
                sent += recording->count();
                is_last = false;
            }
        }
    });
    for (std::thread &thread : threads) thread.join();
    outbox.give_up();
    EXPECT_EQ(sent + outbox.all_lost(), programs * fragments * steps);
    EXPECT_GT(told, 0U);
    EXPECT_FALSE(books->open(1));
    EXPECT_EQ(books->decision_us().size(), std::min<std::size_t>(programs * fragments * steps, 4096));
}

} // namespace
} // namespace marlserve
