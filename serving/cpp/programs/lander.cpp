/* An example: a program that lands on the moon of lander.h, and learns to from the trainer that it is named.
 *
 *     python -m marlserve.serving.trainer --config lander.json
 *     lander lander.json UNTIL_RETURN MINUTES
 *
 * A line every ten seconds has the steps so far, the mean return and the share of landings of the latest
 * 100 flights, and what decisions take. It ends when the mean return is enough, or the time over.
 */
#include "lander.h"

#include "marlserve/client/agent.h"
#include "marlserve/client/report.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <iostream>

namespace {

constexpr std::size_t window = 100; // flights
constexpr double tell_every_s = 10.0;

struct Flight {
    double earned = 0.0;
    std::uint64_t steps = 0;
    bool is_landed = false;
};

Flight fly(marlserve::Agent &agent, lander::Lander &craft) {
    Flight flight;
    craft.reset();
    while (!craft.is_terminated() && !craft.is_truncated()) {
        const marlserve::Decision decision = agent.act(craft.seen());
        const double reward = craft.step(decision.action.choice());
        decision.reward(reward);
        flight.earned += reward, flight.steps++;
    }
    if (craft.is_terminated()) agent.terminate();
    else agent.truncate(craft.seen());
    flight.is_landed = craft.is_landed();
    return flight;
}

void tell(const marlserve::Agent &agent, double seconds, std::uint64_t steps, double earned, double landed) {
    const std::vector<float> times_us = agent.books().decision_us();
    std::printf("%.0f s, %llu steps, return %.1f, landed %.2f, version %lld, decision %.1f us, p99 %.1f us, lost %llu\n", seconds,
                static_cast<unsigned long long>(steps), earned, landed, static_cast<long long>(agent.link().newest()->version()), marlserve::mean(times_us),
                marlserve::percentile(times_us, 0.99), static_cast<unsigned long long>(agent.outbox().all_lost()));
    std::fflush(stdout);
}

void run(const std::string &config, double until_return, double minutes) {
    marlserve::Agent agent(marlserve::settings_of(config));
    const double began_s = marlserve::now_s();
    if (!agent.wait_for_policy(60.0 * minutes)) throw std::runtime_error("there is no policy after " + std::to_string(minutes) + " minutes");
    lander::Lander craft(0);
    std::deque<Flight> latest;
    std::uint64_t steps = 0;
    const double start_s = marlserve::now_s();
    for (double told_s = start_s; marlserve::now_s() < began_s + 60.0 * minutes;) {
        latest.push_back(fly(agent, craft));
        steps += latest.back().steps;
        if (latest.size() > window) latest.pop_front();
        double earned = 0.0, landed = 0.0;
        for (const Flight &flight : latest) earned += flight.earned / latest.size(), landed += flight.is_landed / static_cast<double>(latest.size());
        const bool is_enough = latest.size() == window && earned >= until_return;
        if (!is_enough && marlserve::now_s() < told_s + tell_every_s) continue;
        told_s = marlserve::now_s();
        tell(agent, told_s - start_s, steps, earned, landed);
        if (is_enough) break;
    }
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 4) {
        std::cerr << "usage: lander CONFIG.JSON UNTIL_RETURN MINUTES\n";
        return 2;
    }
    try {
        run(argv[1], std::stod(argv[2]), std::stod(argv[3]));
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
