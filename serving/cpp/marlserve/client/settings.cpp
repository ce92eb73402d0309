#include "marlserve/client/settings.h"

#include "marlserve/policy/json.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>

namespace marlserve {
namespace {

// What only the trainer reads, or what only a client in Python has.
const std::set<std::string> others = {
    "algorithm_name", "algorithm_parameters", "act_limit",  "type",        "observation_space", "action_space", "action_masks", "agents",
    "policies",       "state_size",           "certificate", "key",        "folder",            "save_every_s", "idle_after_s", "evaluator",
    "learners",       "most_learners",        "niceness",
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

WhenFull when_full_of(const Json &word) {
    if (word == "wait") return WhenFull::wait;
    if (word == "spill") return WhenFull::spill;
    require(word == "drop", "when_full", word.dump(), "drop, spill or wait");
    return WhenFull::drop;
}

std::string spill_folder_of(const Json &value) {
    if (value.is_null()) return "";
    require(value.is_string() && value != "", "spill_folder", value.dump(), "a path, or null");
    return value.get<std::string>();
}

std::optional<std::uint64_t> seed_of(const Json &value) {
    if (value.is_null()) return std::nullopt;
    require(value.is_number_unsigned(), "seed", value.dump(), "an integer from 0 on, or null");
    return value.get<std::uint64_t>();
}

using Take = std::function<void(ClientSettings &to, const std::string &key, const Json &value)>;

Take text(std::string ClientSettings::*field) {
    return [field](ClientSettings &to, const std::string &key, const Json &value) {
        require(value.is_string(), key, value.dump(), "a text");
        to.*field = value.get<std::string>();
    };
}

Take count(std::int64_t ClientSettings::*field) {
    return [field](ClientSettings &to, const std::string &key, const Json &value) {
        require(value.is_number_integer(), key, value.dump(), "an integer");
        to.*field = value.get<std::int64_t>();
    };
}

Take number(double ClientSettings::*field) {
    return [field](ClientSettings &to, const std::string &key, const Json &value) {
        require(value.is_number(), key, value.dump(), "a number");
        to.*field = value.get<double>();
    };
}

const std::map<std::string, Take> ours = {
    {"client_id", text(&ClientSettings::policy)},
    {"client_name", text(&ClientSettings::client_id)},
    {"train_server_address", text(&ClientSettings::address)},
    {"token", text(&ClientSettings::token)},
    {"ca", text(&ClientSettings::ca)},
    {"send_frequency", count(&ClientSettings::send_frequency)},
    {"max_traj_length", count(&ClientSettings::most_steps)},
    {"buffer_steps", count(&ClientSettings::buffer_steps)},
    {"reward_deadline_s", number(&ClientSettings::reward_deadline_s)},
    {"default_reward", number(&ClientSettings::default_reward)},
    {"when_full", [](ClientSettings &to, const std::string &, const Json &value) { to.when_full = when_full_of(value); }},
    {"spill_folder", [](ClientSettings &to, const std::string &, const Json &value) { to.spill_folder = spill_folder_of(value); }},
    {"spill_bytes", count(&ClientSettings::spill_bytes)},
    {"fallback_action", [](ClientSettings &to, const std::string &, const Json &value) { to.fallback_action = action_of(value); }},
    {"seed", [](ClientSettings &to, const std::string &, const Json &value) { to.seed = seed_of(value); }},
};

[[noreturn]] void unknown(const std::string &key) {
    std::string known;
    for (const auto &[name, take] : ours) known += " " + name;
    for (const std::string &name : others) known += " " + name;
    throw std::invalid_argument("there is an unknown key '" + key + "'; known are" + known);
}

} // namespace

void ClientSettings::check() const {
    require(!address.empty(), "address", "empty", "host:port");
    require(!policy.empty(), "policy", "empty", "a name");
    check_between("send_frequency", static_cast<double>(send_frequency), 1, 1e5);
    check_between("most_steps", static_cast<double>(most_steps), 1, 1e6);
    check_between("buffer_steps", static_cast<double>(buffer_steps), static_cast<double>(most_steps), 1e9);
    require((when_full == WhenFull::spill) != spill_folder.empty(), "spill_folder", "'" + spill_folder + "'", "a folder if when_full is spill, and else none");
    check_between("spill_bytes", static_cast<double>(spill_bytes), 1, 1e15);
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
        for (const auto &[key, value] : said.items()) {
            const auto found = ours.find(key);
            if (found != ours.end()) found->second(settings, key, value);
            else if (others.count(key) == 0) unknown(key);
        }
        settings.buffer_steps = std::max(settings.buffer_steps, settings.most_steps);
        settings.check();
    } catch (const std::invalid_argument &error) {
        throw std::invalid_argument(path + ": " + error.what());
    }
    return settings;
}

} // namespace marlserve
