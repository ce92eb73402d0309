/* One decision of a network at a time, of whoever brings the room to compute in and what is remembered.
 *
 *     const Evaluator evaluator(network);
 *     std::vector<float> work = evaluator.work(), memory = evaluator.memory();
 *     evaluator.run("agent", observation.data(), work, memory);
 *     const float *outputs = work.data() + evaluator.place_of(network.last().name);
 *
 * Several threads may use one evaluator, with work and memory of their own.
 */
#pragma once

#include "marlserve/policy/network.h"

#include <map>
#include <string>
#include <vector>

namespace marlserve {

class Evaluator {
  public:
    explicit Evaluator(const Network &network);

    /* Room for the observation first, then what the layers put out. */
    std::vector<float> work() const { return std::vector<float>(work_size_); }

    /* What it remembers of an episode, as that begins; empty if it remembers nothing. */
    std::vector<float> memory() const { return std::vector<float>(memory_size_); }

    std::size_t work_size() const { return work_size_; }
    std::size_t memory_size() const { return memory_size_; }

    /* Where in `work` the outputs of a layer will be. */
    std::size_t place_of(const std::string &layer) const { return places_.at(layer); }

    /* See, and compute what all layers put out; `memory` is changed.
     *
     * std::invalid_argument for an observation that is not finite, an agent without an index where
     * there are such, and work or memory of another size; then nothing is changed. */
    void run(const std::string &agent, const float *observation, std::vector<float> &work, std::vector<float> &memory) const;

  private:
    enum class Operation { linear, relu, tanh, normalize, standardize, embedding, mean_max, add, gru };

    struct Step {
        Operation operation;
        std::size_t first, second, out;   // places in `work`
        std::size_t rows, inputs, size;   // it is applied to so many rows, of so many numbers, and gives so many
        std::vector<std::size_t> weights; // places in `weights_`
        std::size_t memory;               // a place there
    };

    void add(const Network &network, const Layer &layer, std::map<std::string, Shape> &shapes);
    std::size_t stored(const Array &array, bool is_matrix);
    void run(const Step &step, float *work, float *memory) const;

    std::size_t observed_, work_size_, memory_size_ = 0;
    std::vector<std::string> indexed_;
    std::vector<Step> steps_;
    std::vector<float> weights_;
    std::map<std::string, std::size_t> places_;
};

} // namespace marlserve
