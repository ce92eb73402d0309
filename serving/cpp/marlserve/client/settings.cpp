#include "marlserve/client/settings.h"

#include "marlserve/policy/json.h"

#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <stdexcept>

namespace marlserve {
namespace {

// What only the trainer reads, or what only a client in Python has.
const std::set<std::string> others = {
    "algorithm_name", "algorithm_parameters", "act_limit",  "type",        "observation_space", "action_space", "action_masks", "agents",
    "policies",       "state_size",           "certificate", "key",        "folder",            "save_every_s", "idle_after_s", "evaluator",
    "spill_folder",
};

void require(bool is_good, const std::string &field, const std::string &value, const std::string &allowed) {
    if (!is_good) throw std::invalid_argument(field + " is " + value + "; allowed is " + allowed);
}

void check_between(const std::string &field, double value, double low, double high) {
    std::ostringstream allowed;
    allowed << low << " to " << high;
    require(value >= low && value <= high, field, std::to_string(value), allowed.str());
}

/* A number or a list of them: whole ones may be indices. */
Action action_of(const Json &value) {
    Action action;
    bool are_whole = true;
    for (const Json &each : value.is_array() ? value : Json::array({value})) {
        if (!each.is_number()) throw std::invalid_argument("fallback_action is " + value.dump() + "; it must be a number, or a list of them");
        action.numbers.push_back(each.get<float>());
        are_whole = are_whole && each.is_number_integer();
        if (are_whole) action.choices.push_back(each.get<std::int64_t>());
    }
    if (!are_whole) action.choices.clear();
    return action;
}

WhenFull when_full_of(const std::string &word) {
    if (word == "wait") return WhenFull::wait;
    require(word == "drop", "when_full", "'" + word + "'", "drop or wait; only the client in Python has others");
    return WhenFull::drop;
}

double number_of(const std::string &key, const Json &value) {
    require(value.is_number(), key, value.dump(), "a number");
    return value.get<double>();
}

std::int64_t count_of(const std::string &key, const Json &value) {
    require(value.is_number_integer(), key, value.dump(), "an integer");
    return value.get<std::int64_t>();
}

std::uint64_t seed_of(const Json &value) {
    require(value.is_number_unsigned(), "seed", value.dump(), "an integer from 0 on, or null");
    return value.get<std::uint64_t>();
}

void take(ClientSettings &settings, const Json &said, const std::string &key) {
    const Json &value = said[key];
    if (key == "client_id") settings.policy = text_of(said, key);
    else if (key == "train_server_address") settings.address = text_of(said, key);
    else if (key == "token") settings.token = text_of(said, key);
    else if (key == "ca") settings.ca = text_of(said, key);
    else if (key == "send_frequency") settings.send_frequency = count_of(key, value);
    else if (key == "max_traj_length") settings.most_steps = count_of(key, value);
    else if (key == "buffer_steps") settings.buffer_steps = count_of(key, value);
    else if (key == "when_full") settings.when_full = when_full_of(text_of(said, key));
    else if (key == "reward_deadline_s") settings.reward_deadline_s = number_of(key, value);
    else if (key == "default_reward") settings.default_reward = number_of(key, value);
    else if (key == "fallback_action") settings.fallback_action = action_of(value);
    else if (key == "seed" && value.is_null()) settings.seed.reset();
    else if (key == "seed") settings.seed = seed_of(value);
    else if (others.count(key) == 0) throw std::invalid_argument("there is an unknown key '" + key + "'");
}

} // namespace

void ClientSettings::check() const {
    require(!address.empty(), "address", "empty", "host:port");
    require(!policy.empty(), "policy", "empty", "a name");
    check_between("send_frequency", static_cast<double>(send_frequency), 1, 1e5);
    check_between("most_steps", static_cast<double>(most_steps), 1, 1e6);
    check_between("buffer_steps", static_cast<double>(buffer_steps), static_cast<double>(most_steps), 1e9);
    check_between("reward_deadline_s", reward_deadline_s, 0.0, 1e7);
    check_between("default_reward", default_reward, -1e9, 1e9);
}

ClientSettings settings_of(const std::string &path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) throw std::invalid_argument(path + " cannot be read");
    const Json said = parsed(text.str(), path);
    if (!said.is_object() || !said.contains("client_id")) throw std::invalid_argument(path + " has no client_id");
    ClientSettings settings;
    try {
        for (const auto &[key, value] : said.items()) take(settings, said, key);
        settings.buffer_steps = std::max(settings.buffer_steps, settings.most_steps);
        settings.check();
    } catch (const std::invalid_argument &error) {
        throw std::invalid_argument(path + ": " + error.what());
    }
    return settings;
}

} // namespace marlserve
