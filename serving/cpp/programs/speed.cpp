/* What a client costs the program that holds it, beside the same loop without it.
 *
 *     python -m marlserve.serving.trainer --config lander.json
 *     speed lander.json SECONDS
 *
 * The loop of lander.h, while a trainer learns in other processes:
 *
 *     no policy             nothing is done, always
 *     inference alone       a policy file, evaluated and drawn from, and nothing kept
 *     client, send 1        all of it: decisions, steps, rewards, and sending every fragment at once,
 *     client, send 10       or several together
 *
 * The sides take turns, 200 steps each, in one thread, so that they have the same share of a busy machine.
 * CPU time is that of the thread that calls, for a step; decisions are timed by the clock, waiting for the
 * processor included. `senders` is what the client's other threads took, all clients together.
 */
#include "lander.h"

#include "marlserve/client/agent.h"
#include "marlserve/client/report.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <exception>
#include <functional>
#include <iostream>

namespace {

constexpr int block = 200; // steps
constexpr double patience_s = 180.0;

double cpu_s(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/* One way to go through the loop: `act` sees, says what to do and, in `decided`, whom to tell the reward. */
struct Side {
    std::string name;
    std::function<std::int64_t(const std::vector<float> &, std::optional<marlserve::Decision> &decided)> act;
    std::shared_ptr<marlserve::Agent> agent;
    lander::Lander craft{0};
    std::vector<float> cpu_us, times_us;

    void play() {
        const double start_s = cpu_s(CLOCK_THREAD_CPUTIME_ID);
        for (int i = 0; i < block; i++) {
            std::optional<marlserve::Decision> decided;
            const std::vector<float> seen = craft.seen();
            const double asked_s = marlserve::now_s();
            const std::int64_t action = act(seen, decided);
            times_us.push_back(static_cast<float>(1e6 * (marlserve::now_s() - asked_s)));
            const double reward = craft.step(action);
            if (decided) decided->reward(reward);
            if (!craft.is_terminated() && !craft.is_truncated()) continue;
            if (agent && craft.is_terminated()) agent->terminate();
            if (agent && craft.is_truncated()) agent->truncate(craft.seen());
            craft.reset();
        }
        cpu_us.push_back(static_cast<float>(1e6 * (cpu_s(CLOCK_THREAD_CPUTIME_ID) - start_s) / block));
    }
};

std::vector<Side> sides_of(const marlserve::ClientSettings &settings) {
    std::vector<Side> sides;
    for (const int frequency : {1, 10}) {
        marlserve::ClientSettings own = settings;
        own.send_frequency = frequency;
        const auto agent = std::make_shared<marlserve::Agent>(own);
        if (!agent->wait_for_policy(patience_s)) throw std::runtime_error("there is no policy");
        const auto act = [agent](const std::vector<float> &seen, std::optional<marlserve::Decision> &decided) {
            decided.emplace(agent->act(seen));
            return decided->action.choice();
        };
        sides.push_back({"client, send " + std::to_string(frequency), act, agent, lander::Lander(0), {}, {}});
    }
    const auto agent = sides.front().agent; // whose policies are played
    const auto infer = [agent, mind = marlserve::Mind()](const std::vector<float> &seen, std::optional<marlserve::Decision> &) mutable {
        return agent->link().newest()->choose("agent", seen, {}, mind).told.choice();
    };
    sides.insert(sides.begin(), {"inference alone", infer, nullptr, lander::Lander(0), {}, {}});
    const auto nothing = [](const std::vector<float> &, std::optional<marlserve::Decision> &) { return std::int64_t{0}; };
    sides.insert(sides.begin(), {"no policy", nothing, nullptr, lander::Lander(0), {}, {}});
    return sides;
}

void run(const std::string &config, double seconds) {
    std::vector<Side> sides = sides_of(marlserve::settings_of(config));
    for (Side &side : sides) {
        side.play(); // a warm-up
        side.cpu_us.clear(), side.times_us.clear();
    }
    const double start_s = marlserve::now_s();
    double others_s = cpu_s(CLOCK_PROCESS_CPUTIME_ID) - cpu_s(CLOCK_THREAD_CPUTIME_ID);
    while (marlserve::now_s() < start_s + seconds)
        for (Side &side : sides) side.play();
    others_s = cpu_s(CLOCK_PROCESS_CPUTIME_ID) - cpu_s(CLOCK_THREAD_CPUTIME_ID) - others_s;
    std::printf("| | CPU us per step | decision us: mean | p50 | p99 | p99.9 | max | lost, %% |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    std::size_t steps = 0;
    for (const Side &side : sides) {
        const auto at = [&](double share) { return marlserve::percentile(side.times_us, share); };
        std::printf("| %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.0f | ", side.name.c_str(), marlserve::percentile(side.cpu_us, 0.5),
                    marlserve::mean(side.times_us), at(0.5), at(0.99), at(0.999), at(1.0));
        if (side.agent) {
            steps += side.times_us.size();
            std::printf("%.1f ", 100.0 * static_cast<double>(side.agent->outbox().all_lost()) / static_cast<double>(side.agent->books().decisions()));
        }
        std::printf("|\n");
    }
    std::printf("\n%zu steps of each; senders %.2f us\n", sides.front().times_us.size(), 1e6 * others_s / static_cast<double>(steps));
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 3) {
        std::cerr << "usage: speed CONFIG.JSON SECONDS\n";
        return 2;
    }
    try {
        run(argv[1], std::stod(argv[2]));
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
