#include "marlserve/policy/layers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

namespace marlserve {
namespace {

using Shapes = std::map<std::string, Shape>;

struct Rule { // of an operation: the shape of its output, and those of its weights
    Shape shape;
    Shapes weights;
};

[[noreturn]] void misfit(const std::string &why) { throw std::invalid_argument(why); }

/* The shape up to the last axis, and that axis. */
std::pair<Shape, std::int64_t> split(const Shape &shape) {
    if (shape.empty()) misfit("there is no axis");
    return {Shape(shape.begin(), shape.end() - 1), shape.back()};
}

Shape with(Shape lead, std::int64_t last) {
    lead.push_back(last);
    return lead;
}

std::int64_t features(const Shape &shape) {
    if (shape.size() != 2) misfit("there are not two axes");
    return shape[1];
}

Rule same(const std::vector<Shape> &inputs, const Shape &) { return {inputs[0], {}}; }

Rule flatten(const std::vector<Shape> &inputs, const Shape &) { return {{product(inputs[0])}, {}}; }

Rule linear(const std::vector<Shape> &inputs, const Shape &asked) {
    const auto [lead, size] = split(inputs[0]);
    const std::int64_t n = split(asked).second;
    return {with(lead, n), {{"weight", {n, size}}, {"bias", {n}}}};
}

Rule standardize(const std::vector<Shape> &inputs, const Shape &) {
    const std::int64_t n = split(inputs[0]).second;
    return {inputs[0], {{"mean", {n}}, {"deviation", {n}}}};
}

Rule normalize(const std::vector<Shape> &inputs, const Shape &) {
    split(inputs[0]);
    return {inputs[0], {}};
}

Rule embedding(const std::vector<Shape> &inputs, const Shape &) {
    features(inputs[0]);
    return {inputs[0], {{"weight", inputs[0]}}};
}

Rule mean_max(const std::vector<Shape> &inputs, const Shape &) { return {{2 * features(inputs[0])}, {}}; }

Rule add(const std::vector<Shape> &inputs, const Shape &) {
    const Shape &first = inputs[0], rest(first.begin() + (first.empty() ? 0 : 1), first.end());
    for (const Shape &other : inputs)
        if (other != first && other != rest) misfit(shown(other) + " cannot be added to " + shown(first));
    return {first, {}};
}

Rule gru(const std::vector<Shape> &inputs, const Shape &asked) {
    const auto [lead, size] = split(inputs[0]);
    const std::int64_t n = split(asked).second;
    return {with(lead, n), {{"weight_ih", {3 * n, size}}, {"weight_hh", {3 * n, n}}, {"bias_ih", {3 * n}}, {"bias_hh", {3 * n}}}};
}

const std::map<std::string, std::function<Rule(const std::vector<Shape> &, const Shape &)>> rules = {
    {"flatten", flatten},     {"linear", linear},       {"relu", same},         {"tanh", same}, {"normalize", normalize},
    {"standardize", standardize}, {"embedding", embedding}, {"mean_max", mean_max}, {"add", add},   {"gru", gru},
};

/* What follows from a layer, given the shapes of all before it. */
Rule rule_of(const Layer &layer, const Shapes &before) {
    const auto rule = rules.find(layer.operation);
    if (rule == rules.end()) misfit("there is no such operation");
    if (before.count(layer.name) != 0) misfit("there are two layers of that name");
    if (layer.inputs.empty() || (layer.inputs.size() > 1 && layer.operation != "add")) misfit("it has " + std::to_string(layer.inputs.size()) + " inputs");
    std::vector<Shape> inputs;
    for (const std::string &name : layer.inputs) {
        if (before.count(name) == 0) misfit("its input '" + name + "' is no earlier layer");
        inputs.push_back(before.at(name));
    }
    Rule found = rule->second(inputs, layer.shape);
    if (found.shape != layer.shape) misfit("it has shape " + shown(layer.shape) + "; of its inputs it is " + shown(found.shape));
    product(found.shape);
    return found;
}

void check_weights(const Arrays &weights, const Shapes &needed) {
    for (const auto &[name, shape] : needed) {
        const auto found = weights.find(name);
        if (found == weights.end()) misfit("weights '" + name + "' are missing");
        const Array &array = found->second;
        if (array.shape != shape) misfit("weights '" + name + "' have shape " + shown(array.shape) + "; expected is " + shown(shape));
        if (!std::all_of(array.values.begin(), array.values.end(), [](float x) { return std::isfinite(x); }))
            misfit("weights '" + name + "' have values that are not finite");
    }
    for (const auto &[name, array] : weights)
        if (needed.count(name) == 0) misfit("weights '" + name + "' belong to no layer");
}

} // namespace

void check(const std::vector<Layer> &layers, const Arrays &weights, const Shape &observation) {
    Shapes shapes = {{observation_name, observation}}, needed;
    for (const Layer &layer : layers) {
        try {
            const Rule rule = rule_of(layer, shapes);
            shapes[layer.name] = rule.shape;
            for (const auto &[part, shape] : rule.weights) needed[layer.name + "." + part] = shape;
        } catch (const std::invalid_argument &error) {
            throw std::invalid_argument("layer '" + layer.name + "' (" + layer.operation + "): " + error.what());
        }
    }
    check_weights(weights, needed);
}

} // namespace marlserve
