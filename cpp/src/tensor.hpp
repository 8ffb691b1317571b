// A float32 tensor in memory, rows last.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace roastery {

struct Tensor {
    std::vector<std::int64_t> shape;
    std::vector<float> values;
};

// What a net gave, by blob name.
using Outputs = std::map<std::string, Tensor>;

// "(3, 4)".
inline std::string shape_text(const Tensor& tensor) {
    std::string text = "(";
    for (const auto size : tensor.shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    return text + ")";
}

}  // namespace roastery
