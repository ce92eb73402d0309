/* Policy files: policy.json says what policy.safetensors holds; marlserve.policies.export.file is the
 * manual. Reading takes JSON and arrays of float32, and runs no code that the files bring.
 *
 *     const PolicyFile policy = read("served/moderate");
 */
#pragma once

#include "marlserve/policy/network.h"

#include <string>

namespace marlserve {

/* What both files say; std::invalid_argument if they are broken, of an unknown version, changed since
 * they were written, or do not fit together. */
PolicyFile decoded(const std::string &manifest, const std::string &weights);

/* The policy file in a folder; std::invalid_argument, too, if a file is missing. */
PolicyFile read(const std::string &folder);

} // namespace marlserve
