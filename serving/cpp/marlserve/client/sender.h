/* The thread that sends what waits, and tells how the client is doing. */
#pragma once

#include "marlserve/client/outbox.h"
#include "marlserve/client/patience.h"
#include "marlserve/client/receiver.h"
#include "marlserve/client/session.h"

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace marlserve {

class Sender {
  public:
    /* All of them outlive it; `log` is told what the trainer says of what it does not take. */
    Sender(Wire &wire, Session &session, Patience &patience, const Receiver &receiver, Outbox &outbox, const Books &books,
           std::function<void(const std::string &)> log);

    std::uint64_t sent() const { return sent_; } // steps
    std::string refused() const;

    /* Wait until all is sent, once `patience` is closing; whether it was in time. */
    bool wait(double timeout_s) { return ended_.wait_for(std::chrono::duration<double>(timeout_s)) == std::future_status::ready; }

    /* Once the wire is hung up. */
    void join() { thread_.join(); }

  private:
    void send();
    std::vector<pb::Fragment> taken();
    bool is_fresh(const pb::Fragment &fragment);
    std::vector<pb::PushRequest> requests(std::vector<pb::Fragment> fragments);
    void push(pb::PushRequest &request);
    void refuse(const pb::Fragment &fragment, const std::string &reason, const std::string &what);

    Wire &wire_;
    Session &session_;
    Patience &patience_;
    const Receiver &receiver_;
    Outbox &outbox_;
    const Books &books_;
    const std::function<void(const std::string &)> log_;
    std::uint64_t number_ = 0; // of the latest fragment
    std::atomic<std::uint64_t> sent_{0};
    mutable std::mutex lock_;
    std::string refused_;
    std::promise<void> end_;
    std::future<void> ended_ = end_.get_future();
    std::thread thread_; // the last one: it wants all others
};

} // namespace marlserve
