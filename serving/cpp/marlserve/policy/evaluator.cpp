#include "marlserve/policy/evaluator.h"

#include "marlserve/policy/kernels.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace marlserve {
namespace {

std::size_t count_of(const Shape &shape) { return static_cast<std::size_t>(product(shape)); }

std::size_t last_of(const Shape &shape) { return shape.empty() ? 1 : static_cast<std::size_t>(shape.back()); }

} // namespace

Evaluator::Evaluator(const Network &network)
    : observed_(count_of(network.observations.shape)), work_size_(count_of(network.seen())), indexed_(network.indexed_agents) {
    std::map<std::string, Shape> shapes = {{observation_name, network.seen()}};
    places_[observation_name] = 0;
    for (const Layer &layer : network.layers) add(network, layer, shapes);
}

/* Give a layer its place. */
void Evaluator::add(const Network &network, const Layer &layer, std::map<std::string, Shape> &shapes) {
    static const std::map<std::string, std::pair<Operation, std::vector<std::string>>> operations = {
        {"linear", {Operation::linear, {"weight", "bias"}}},
        {"relu", {Operation::relu, {}}},
        {"tanh", {Operation::tanh, {}}},
        {"normalize", {Operation::normalize, {}}},
        {"standardize", {Operation::standardize, {"mean", "deviation"}}},
        {"embedding", {Operation::embedding, {"weight"}}},
        {"mean_max", {Operation::mean_max, {}}},
        {"add", {Operation::add, {}}},
        {"gru", {Operation::gru, {"weight_ih", "bias_ih", "weight_hh", "bias_hh"}}},
    };
    const std::string &first = layer.inputs[0];
    const Shape &shape = shapes.at(first);
    shapes[layer.name] = layer.shape;
    places_[layer.name] = places_.at(first);
    if (layer.operation == "flatten") return; // the same numbers
    const auto &[operation, parts] = operations.at(layer.operation);
    const std::size_t size = count_of(layer.shape), n = last_of(shape);
    if (operation == Operation::add) { // of any number, two at a time
        for (std::size_t i = 1; i < layer.inputs.size(); i++) {
            const std::string &other = layer.inputs[i];
            steps_.push_back({operation, places_.at(layer.name), places_.at(other), work_size_, 1, count_of(shapes.at(other)), size, {}, 0});
            places_[layer.name] = work_size_;
            work_size_ += size;
        }
        return;
    }
    Step step{operation, places_.at(first), 0, work_size_, count_of(shape) / n, n, last_of(layer.shape), {}, memory_size_};
    const bool has_matrices = operation == Operation::linear || operation == Operation::gru;
    for (const std::string &part : parts) step.weights.push_back(stored(network.weights.at(layer.name + "." + part), has_matrices));
    places_[layer.name] = work_size_;
    work_size_ += size;
    if (operation == Operation::gru) {
        step.second = work_size_; // for its gates
        work_size_ += 6 * step.size;
        memory_size_ += size;
    }
    steps_.push_back(std::move(step));
}

/* Where the weights begin now; matrices are turned over. */
std::size_t Evaluator::stored(const Array &array, bool is_matrix) {
    const std::size_t begin = weights_.size(), columns = last_of(array.shape), rows = array.values.size() / columns;
    if (!is_matrix || array.shape.size() == 1) {
        weights_.insert(weights_.end(), array.values.begin(), array.values.end());
        return begin;
    }
    for (std::size_t column = 0; column < columns; column++)
        for (std::size_t row = 0; row < rows; row++) weights_.push_back(array.values[row * columns + column]);
    return begin;
}

void Evaluator::run(const std::string &agent, const float *observation, std::vector<float> &work, std::vector<float> &memory) const {
    if (work.size() != work_size_ || memory.size() != memory_size_)
        throw std::invalid_argument("work has " + std::to_string(work.size()) + " and memory " + std::to_string(memory.size()) + " numbers; it must be " +
                                    std::to_string(work_size_) + " and " + std::to_string(memory_size_));
    if (!std::all_of(observation, observation + observed_, [](float x) { return std::isfinite(x); }))
        throw std::invalid_argument("observation of '" + agent + "' has values that are not finite");
    if (!indexed_.empty()) {
        const auto index = std::find(indexed_.begin(), indexed_.end(), agent);
        if (index == indexed_.end()) throw std::invalid_argument("agent '" + agent + "' has no index in this network");
        std::fill_n(work.begin() + static_cast<std::ptrdiff_t>(observed_), indexed_.size(), 0.0F);
        work[observed_ + static_cast<std::size_t>(index - indexed_.begin())] = 1.0F;
    }
    std::copy(observation, observation + observed_, work.begin());
    for (const Step &step : steps_) run(step, work.data(), memory.data());
}

void Evaluator::run(const Step &step, float *work, float *memory) const {
    const float *x = work + step.first;
    float *to = work + step.out;
    const auto weight = [&](std::size_t part) { return weights_.data() + step.weights[part]; };
    switch (step.operation) {
    case Operation::linear:
        for (std::size_t row = 0; row < step.rows; row++)
            kernels::affine(x + row * step.inputs, step.inputs, weight(0), weight(1), step.size, to + row * step.size);
        break;
    case Operation::relu: kernels::relu(x, step.rows * step.size, to); break;
    case Operation::tanh: kernels::tanh(x, step.rows * step.size, to); break;
    case Operation::normalize: kernels::normalize(x, step.rows, step.size, to); break;
    case Operation::standardize: kernels::standardize(x, step.rows, step.size, weight(0), weight(1), to); break;
    case Operation::embedding: kernels::add(x, step.rows * step.size, weight(0), step.rows * step.size, to); break;
    case Operation::mean_max: kernels::mean_max(x, step.rows, step.inputs, to); break;
    case Operation::add: kernels::add(x, step.size, work + step.second, step.inputs, to); break;
    case Operation::gru: {
        const kernels::Gates gates{weight(0), weight(1), weight(2), weight(3)};
        for (std::size_t row = 0; row < step.rows; row++)
            kernels::gru(x + row * step.inputs, step.inputs, gates, step.size, memory + step.memory + row * step.size, work + step.second,
                         to + row * step.size);
        break;
    }
    }
}

} // namespace marlserve
