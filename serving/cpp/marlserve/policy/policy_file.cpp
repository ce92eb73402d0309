#include "marlserve/policy/policy_file.h"

#include <openssl/evp.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace marlserve {
namespace {

const std::string format = "marlserve policy";
constexpr std::int64_t version = 1;

std::string sha256(const std::string &bytes) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    if (EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) != 1)
        throw std::runtime_error("OpenSSL has no SHA-256");
    std::string text;
    for (unsigned int i = 0; i < length; i++) {
        text += "0123456789abcdef"[digest[i] >> 4];
        text += "0123456789abcdef"[digest[i] & 15];
    }
    return text;
}

Layer layer_of(const Json &value) {
    return {text_of(value, "name"), text_of(value, "operation"), names_of(value, "inputs"), sizes_of(taken(value, "shape", Kind::list))};
}

Network network_of(const Json &value, Arrays weights) {
    Network network;
    network.observations = box_of(taken(value, "observation_space", Kind::map));
    network.actions = space_of(taken(value, "action_space", Kind::map));
    network.weights = std::move(weights);
    network.indexed_agents = names_of(value, "indexed_agents");
    for (const Json &layer : taken(value, "layers", Kind::list)) network.layers.push_back(layer_of(layer));
    const Json &action = taken(value, "action", Kind::map);
    network.outputs = text_of(action, "outputs");
    network.stretch = flag_of(action, "stretch");
    network.clip = flag_of(action, "clip");
    network.check();
    return network;
}

/* {network: its weights}, of names "<network>/<layer>.<weight>". */
std::map<std::string, Arrays> sorted(Arrays &&arrays, const Json &networks) {
    std::map<std::string, Arrays> parts;
    for (const auto &[name, network] : networks.items()) parts[name];
    for (auto &[key, array] : arrays) {
        const std::size_t slash = key.rfind('/');
        const std::string name = slash == std::string::npos ? "" : key.substr(0, slash);
        const auto part = parts.find(name);
        if (part == parts.end()) throw std::invalid_argument("weights '" + key + "' belong to no network");
        part->second[key.substr(slash + 1)] = std::move(array);
    }
    return parts;
}

std::string bytes_of(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    if (!file) throw std::invalid_argument(path + " cannot be read");
    return bytes.str();
}

} // namespace

PolicyFile decoded(const std::string &manifest, const std::string &weights) {
    const Json said = parsed(manifest, "policy.json");
    if (!said.is_object() || said.value("format", Json()) != format)
        throw std::invalid_argument("policy.json does not say that its format is '" + format + "'");
    if (said.value("version", Json()) != version)
        throw std::invalid_argument("its version is " + said.value("version", Json()).dump() + "; this marlserve reads version " + std::to_string(version));
    if (text_of(said, "weights_sha256") != sha256(weights))
        throw std::invalid_argument("the checksum of policy.safetensors is not that of policy.json");
    const Json &networks = taken(said, "networks", Kind::map);
    PolicyFile policy;
    for (auto &[name, part] : sorted(arrays_of(weights), networks)) {
        try {
            policy.networks[name] = network_of(taken(networks, name, Kind::map), std::move(part));
        } catch (const std::invalid_argument &error) {
            throw std::invalid_argument("network '" + name + "': " + error.what());
        }
    }
    for (const auto &[agent, name] : taken(said, "agents", Kind::map).items()) {
        if (!name.is_string() || policy.networks.count(name.get<std::string>()) == 0)
            throw std::invalid_argument("agent '" + agent + "' is played by " + name.dump() + ", which is no network");
        policy.agents[agent] = name.get<std::string>();
    }
    if (policy.agents.empty()) throw std::invalid_argument("the policy plays for nobody");
    return policy;
}

PolicyFile read(const std::string &folder) {
    try {
        return decoded(bytes_of(folder + "/policy.json"), bytes_of(folder + "/policy.safetensors"));
    } catch (const std::invalid_argument &error) {
        throw std::invalid_argument(folder + " is no policy file that can be read: " + error.what());
    }
}

} // namespace marlserve
