/* What waits to be sent: a bounded queue between the program and the network, and its losses.
 *
 * Fragments leave in the order in which they came, once their rewards are known or due. Why steps are
 * never sent:
 *
 *     full        there was no room
 *     stale       too many versions behind to be learned from
 *     other_run   of a policy of another run of the trainer, for an on-policy learner
 *     refused     the trainer did not take them
 *     unsent      the client was closed before the trainer said that it has them
 */
#pragma once

#include "marlserve/client/books.h"
#include "marlserve/client/settings.h"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace marlserve {

class Outbox {
  public:
    using Recordings = std::vector<std::shared_ptr<Recording>>;

    Outbox(const ClientSettings &settings, std::shared_ptr<Books> books);

    /* Queue a fragment that is closed; waits for room if the settings say so. */
    void put(std::shared_ptr<Recording> recording);

    /* Hold no more than the trainer can use: what waits for long is too old for some. */
    void hold(const Contract &contract);

    /* What is to be sent next, sealed; nothing if nothing is ready after this time. */
    Recordings take(double timeout_s);

    /* Let what is there go at once; rewards that are not known are the default. */
    void close();

    /* Nothing more is sent. */
    void give_up();

    /* So many steps are never sent. */
    void lose(const std::string &reason, std::size_t steps);

    std::map<std::string, std::uint64_t> lost() const; // steps, by reason
    std::uint64_t all_lost() const;
    std::uint64_t defaulted() const; // steps whose reward was not known in time

  private:
    bool is_full(std::size_t count) const;
    std::size_t ready() const;
    double next_s(double now_s) const;
    std::shared_ptr<Recording> popped();

    const std::size_t send_frequency_;
    const bool waits_;
    const double default_reward_;
    const std::shared_ptr<Books> books_;
    mutable std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Recording>> queue_;
    std::size_t steps_ = 0, most_steps_;
    std::uint64_t defaulted_ = 0;
    std::map<std::string, std::uint64_t> lost_;
    bool is_closed_ = false, is_over_ = false;
};

} // namespace marlserve
