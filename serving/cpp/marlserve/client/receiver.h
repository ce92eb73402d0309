/* The thread that receives policies, and makes the newest one ready while the one before is played. */
#pragma once

#include "marlserve/client/patience.h"
#include "marlserve/client/session.h"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

namespace marlserve {

class Receiver {
  public:
    /* `wire`, `session` and `patience` outlive it. */
    Receiver(Wire &wire, Session &session, Patience &patience);

    /* Null until there is one. */
    std::shared_ptr<const Playing> newest() const;

    bool wait(double timeout_s) const;

    /* Once `patience` is closing and the wire hung up. */
    void join() { thread_.join(); }

  private:
    void receive();
    void listen();

    Wire &wire_;
    Session &session_;
    Patience &patience_;
    Assembly assembly_;
    mutable std::mutex lock_;
    mutable std::condition_variable is_there_;
    std::shared_ptr<const Playing> newest_;
    std::thread thread_; // the last one: it wants all others
};

} // namespace marlserve
