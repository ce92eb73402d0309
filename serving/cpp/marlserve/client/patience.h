/* Trying again: after 0.1 s, then twice as long each time up to 5 s, as long as there is time. */
#pragma once

#include "marlserve/client/recording.h"

#include <condition_variable>
#include <functional>
#include <limits>
#include <mutex>
#include <string>

namespace marlserve {

class Patience {
  public:
    enum class Until {
        closing, // there is time until `close` is called,
        flushed, // or until its timeout is over
    };

    /* Of what goes wrong, once and not with every try, `log` is told. */
    explicit Patience(std::function<void(const std::string &)> log) : log_(std::move(log)) {}

    /* Call it until it raises nothing; false if there is no more time. */
    bool done(const std::function<void()> &call, Until until);

    /* There is so much time left. */
    void close(double timeout_s);

    bool is_closing() const;
    double left_s() const;

    /* Why it is tried again; "" while it is not. */
    std::string trouble() const;

  private:
    bool is_over(Until until) const;
    void say(const std::string &trouble);

    const std::function<void(const std::string &)> log_;
    mutable std::mutex lock_;
    std::condition_variable closing_;
    bool is_closing_ = false;
    double give_up_s_ = std::numeric_limits<double>::infinity();
    std::string trouble_;
};

} // namespace marlserve
