#include "marlserve/client/playing.h"

#include "marlserve/policy/policy_file.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace marlserve {
namespace {

/* See that the network has what the noise takes. */
void check(const Noise &noise, const Network &network) {
    const Box *box = std::get_if<Box>(&network.actions);
    if (!box) throw std::invalid_argument("the action space has no numbers that could be drawn");
    if (!noise.squash.empty() && noise.squash != "tanh" && noise.squash != "clip")
        throw std::invalid_argument("squash is '" + noise.squash + "'; allowed are '', 'tanh' and 'clip'");
    const auto check_layer = [&](const std::string &name) {
        const auto fits = [&](const Layer &layer) { return layer.name == name && product(layer.shape) == box->size(); };
        if (std::none_of(network.layers.begin(), network.layers.end(), fits))
            throw std::invalid_argument("no layer '" + name + "' puts " + std::to_string(box->size()) + " numbers out");
    };
    if (!std::all_of(noise.log_deviations.begin(), noise.log_deviations.end(), [](float x) { return std::isfinite(x); }))
        throw std::invalid_argument("deviations are not finite");
    check_layer(noise.mean);
    if (!noise.log_deviation.empty()) check_layer(noise.log_deviation);
    if (noise.log_deviation.empty() && noise.log_deviations.size() != static_cast<std::size_t>(box->size()))
        throw std::invalid_argument("there are " + std::to_string(noise.log_deviations.size()) + " deviations of " + std::to_string(box->size()) + " numbers");
}

} // namespace

Playing::Playing(const Published &published, const Seat &seat) : run_(published.run), version_(published.version), epsilon_(published.epsilon) {
    PolicyFile file = decoded(published.manifest, published.weights);
    agents_ = file.agents;
    for (auto &[name, network] : file.networks) {
        const bool is_for_it = network.observations.shape == seat.observations.shape && network.actions.index() == seat.actions.index() &&
                               outputs_of(network.actions) == outputs_of(seat.actions);
        if (!is_for_it) throw std::invalid_argument("network '" + name + "' is for other spaces than the contract");
        const auto noise = published.noises.find(name);
        if (noise != published.noises.end()) check(noise->second, network);
        Evaluator evaluator(network);
        players_.emplace(name, Player{std::move(network), std::move(evaluator), noise == published.noises.end() ? Noise{} : noise->second});
    }
}

Choice Playing::choose(const std::string &agent, const std::vector<float> &observation, const Mask &legal, Mind &mind) const {
    auto who = agents_.find(agent);
    if (who == agents_.end()) who = agents_.find(anyone);
    if (who == agents_.end()) throw std::invalid_argument("agent '" + agent + "' has no policy");
    const auto &[network, evaluator, noise] = players_.at(who->second);
    if (mind.work.size() != evaluator.work_size()) mind.work = evaluator.work();
    if (mind.memory.size() != evaluator.memory_size()) mind.memory = evaluator.memory();
    evaluator.run(agent, observation.data(), mind.work, mind.memory);
    const float *work = mind.work.data(), *outputs = work + evaluator.place_of(network.last().name);
    Choice choice;
    choice.outputs.assign(outputs, outputs + outputs_of(network.actions));
    if (const Choices *choices = std::get_if<Choices>(&network.actions)) {
        choice.action.choices = choices_of(outputs, *choices, legal, network.outputs == "logits", epsilon_, mind.random, choice.log_probability);
        choice.told = choice.action;
        for (std::size_t i = 0; i < choices->starts.size(); i++) choice.told.choices[i] += choices->starts[i];
        return choice;
    }
    if (noise.mean.empty()) {
        choice.action.numbers = choice.outputs;
    } else {
        const float *spread = noise.log_deviation.empty() ? noise.log_deviations.data() : work + evaluator.place_of(noise.log_deviation);
        choice.action.numbers =
            numbers_of(work + evaluator.place_of(noise.mean), spread, choice.outputs.size(), noise.squash, epsilon_, mind.random, choice.log_probability);
    }
    choice.told.numbers = stretched(network, choice.action.numbers);
    return choice;
}

} // namespace marlserve
