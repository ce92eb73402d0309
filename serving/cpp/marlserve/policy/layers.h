/* What a network is made of; marlserve.policies.export.layers is the manual.
 *
 *     flatten  linear  relu  tanh  normalize  standardize  embedding  mean_max  add  gru
 */
#pragma once

#include "marlserve/policy/safetensors.h"

#include <string>
#include <vector>

namespace marlserve {

inline const std::string observation_name = "observation"; // what the first layer reads

struct Layer {
    std::string name, operation;
    std::vector<std::string> inputs;
    Shape shape; // of its output, without a batch axis
};

/* See that the layers follow from each other, and have the weights that they need and no others.
 *
 * std::invalid_argument for an unknown operation, an input that is no earlier layer, a name given
 * twice, missing, superfluous or misshapen weights, and weights that are not finite. */
void check(const std::vector<Layer> &layers, const Arrays &weights, const Shape &observation);

} // namespace marlserve
