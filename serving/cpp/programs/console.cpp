/* A client by hand, and for tests: commands come in, a line each, and what happened goes out, a line each.
 *
 *     console PROGRAM.JSON
 *
 *     act NAME numbers             JSON: id, choices, numbers, version, log_probability
 *     act NAME numbers | mask
 *     reward ID VALUE              true, or false if it is too late
 *     terminate NAME               ok
 *     truncate NAME [numbers]      ok
 *     wait SECONDS                 true once there is a policy
 *     counts                       JSON
 *     close SECONDS                ok
 *
 * What cannot be done is a line "error: ...".
 */
#include "marlserve/client/agent.h"
#include "marlserve/policy/json.h"

#include <exception>
#include <iostream>
#include <iterator>
#include <map>
#include <sstream>

namespace {

using marlserve::Json;

class Console {
  public:
    explicit Console(const std::string &path) : agent_(marlserve::settings_of(path)) {}

    std::string answer(const std::string &line) {
        std::istringstream words(line);
        std::string command, rest;
        words >> command;
        if (command == "act") return act(words);
        if (command == "counts") return counts();
        if (command == "reward") return reward(words);
        double seconds = 0.0;
        if (command == "wait" && words >> seconds) return agent_.wait_for_policy(seconds) ? "true" : "false";
        if (command == "close" && words >> seconds) {
            agent_.close(seconds);
            return "ok";
        }
        if (command == "terminate") return episode(words).terminate(), "ok";
        if (command != "truncate") throw std::invalid_argument("there is no command '" + line + "'");
        marlserve::Episode &episode = this->episode(words);
        const std::vector<float> seen = numbers(words);
        seen.empty() ? episode.truncate() : episode.truncate(seen);
        return "ok";
    }

  private:
    marlserve::Episode &episode(std::istream &words) {
        std::string name;
        words >> name;
        auto &found = episodes_[name];
        if (!found) found = agent_.episode(name);
        return *found;
    }

    static std::vector<float> numbers(std::istream &words) { return {std::istream_iterator<float>(words), {}}; }

    std::string act(std::istream &words) {
        marlserve::Episode &episode = this->episode(words);
        const std::vector<float> seen = numbers(words);
        marlserve::Mask mask;
        words.clear(); // the bar is no number
        std::string bar;
        words >> bar;
        for (int legal = 0; words >> legal;) mask.push_back(static_cast<std::uint8_t>(legal));
        const marlserve::Decision decision = episode.act(seen, mask);
        return Json{{"id", decision.id},
                    {"choices", decision.action.choices},
                    {"numbers", decision.action.numbers},
                    {"version", decision.version},
                    {"log_probability", decision.log_probability}}
            .dump();
    }

    std::string reward(std::istream &words) {
        std::uint64_t id = 0;
        std::string value;
        words >> id >> value;
        return agent_.reward(id, std::stod(value)) ? "true" : "false";
    }

    std::string counts() const {
        const auto newest = agent_.link().newest();
        return Json{{"decisions", agent_.books().decisions()},
                    {"fallbacks", agent_.books().fallbacks()},
                    {"late", agent_.books().late()},
                    {"sent", agent_.link().sent()},
                    {"lost", agent_.outbox().lost()},
                    {"defaulted", agent_.outbox().defaulted()},
                    {"trouble", agent_.link().trouble()},
                    {"unfit", agent_.link().unfit()},
                    {"refused", agent_.link().refused()},
                    {"version", newest ? newest->version() : 0},
                    {"run", newest ? newest->run() : ""}}
            .dump();
    }

    marlserve::Agent agent_;
    std::map<std::string, std::shared_ptr<marlserve::Episode>> episodes_;
};

} // namespace

int main(int argc, char **argv) {
    if (argc != 2) {
        std::cerr << "usage: console PROGRAM.JSON\n";
        return 2;
    }
    try {
        Console console(argv[1]);
        for (std::string line; std::getline(std::cin, line);) {
            try {
                std::cout << console.answer(line) << std::endl;
            } catch (const std::invalid_argument &error) {
                std::cout << "error: " << error.what() << std::endl;
            }
        }
    } catch (const std::exception &error) {
        std::cerr << "error: " << error.what() << '\n';
        return 1;
    }
}
