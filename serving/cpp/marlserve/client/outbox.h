/* What waits to be sent: a bounded queue between the program and the network, and its losses.
 *
 * Fragments leave in the order in which they came, once their rewards are known or due. A program that
 * waits begins none before there is room for it in the share that the trainer gives it, so that the
 * newest policy plays it, and it does not grow old here. Why steps are never sent:
 *
 *     full        there was no room, or none on the disk either
 *     stale       too many versions behind to be learned from
 *     other_run   of a policy of another run of the trainer, for an on-policy learner
 *     refused     the trainer did not take them
 *     unreadable  fragments on the disk that are broken; they count as one step
 *     unsent      the client was closed before the trainer said that it has them
 */
#pragma once

#include "marlserve/client/books.h"
#include "marlserve/client/settings.h"
#include "marlserve/client/spill.h"

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

    /* std::invalid_argument if the folder of the settings cannot be made. */
    Outbox(const ClientSettings &settings, std::shared_ptr<Books> books);

    /* Queue a fragment that is closed; waits for room if the settings say so. */
    void put(std::shared_ptr<Recording> recording);

    /* Hold no more than the trainer can use: what waits for long is too old for some. */
    void hold(const Contract &contract);

    /* So many steps may be in the making and on their way, as the trainer says; 0: any number. */
    void share(std::uint64_t steps);

    /* How many steps a fragment may have that begins now, while so many episodes are lived through side
     * by side. Waits until half of the share is free, if the settings say so; what waits for rewards
     * takes nothing of it. */
    std::size_t room(std::size_t episodes);

    /* What is to be sent next, sealed; nothing if nothing is ready after this time, or something waits on
     * the disk. Whoever asks has dealt with what was taken before. */
    Recordings take(double timeout_s);

    /* The oldest fragments that waited on the disk, of about a fragment's steps. */
    std::vector<pb::Fragment> take_spilled(const Contract &contract);

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
    std::size_t known() const;
    std::size_t ready() const;
    std::size_t on_its_way() const;
    void make_room();
    double next_s(double now_s) const;
    std::shared_ptr<Recording> popped();

    const std::size_t send_frequency_, fragment_steps_;
    const bool waits_;
    const double default_reward_;
    const std::shared_ptr<Books> books_;
    mutable std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::shared_ptr<Recording>> queue_;
    std::size_t steps_ = 0, most_steps_;
    std::size_t share_ = 0, under_way_ = 0, beginners_ = 0; // beginners: threads that wait to begin a fragment
    std::unique_ptr<Spill> spill_;                          // null: there is none
    std::uint64_t defaulted_ = 0;
    std::map<std::string, std::uint64_t> lost_;
    bool is_closed_ = false, is_over_ = false;
};

} // namespace marlserve
