#include "marlserve/client/patience.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <random>

namespace marlserve {
namespace {

constexpr double first_s = 0.1, longest_s = 5.0; // between two tries

} // namespace

bool Patience::done(const std::function<void()> &call, Until until) {
    thread_local std::minstd_rand random{std::random_device{}()};
    std::uniform_real_distribution<double> share(0.5, 1.0); // so that many clients do not come back at once
    double wait_s = first_s;
    while (!is_over(until)) {
        const double started_s = now_s();
        try {
            call();
            say("");
            return true;
        } catch (const std::exception &error) {
            say(error.what());
        }
        if (now_s() - started_s > longest_s) wait_s = first_s; // it went well for a while
        std::unique_lock<std::mutex> held(lock_);
        if (is_closing_) closing_.wait_for(held, std::chrono::duration<double>(first_s), [] { return false; });
        else closing_.wait_for(held, std::chrono::duration<double>(share(random) * wait_s), [&] { return is_closing_; });
        wait_s = std::min(2.0 * wait_s, longest_s);
    }
    return false;
}

void Patience::close(double timeout_s) {
    const std::lock_guard<std::mutex> held(lock_);
    is_closing_ = true;
    give_up_s_ = now_s() + timeout_s;
    closing_.notify_all();
}

bool Patience::is_closing() const {
    const std::lock_guard<std::mutex> held(lock_);
    return is_closing_;
}

double Patience::left_s() const {
    const std::lock_guard<std::mutex> held(lock_);
    return std::max(give_up_s_ - now_s(), 0.0);
}

std::string Patience::trouble() const {
    const std::lock_guard<std::mutex> held(lock_);
    return trouble_;
}

bool Patience::is_over(Until until) const {
    const std::lock_guard<std::mutex> held(lock_);
    return is_closing_ && (until == Until::closing || now_s() >= give_up_s_);
}

void Patience::say(const std::string &trouble) {
    bool is_new = false;
    {
        const std::lock_guard<std::mutex> held(lock_);
        is_new = trouble != trouble_ && !trouble.empty() && !is_closing_;
        trouble_ = trouble;
    }
    if (is_new) log_(trouble);
}

} // namespace marlserve
