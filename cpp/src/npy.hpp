// Tensors as NumPy's .npy files.
#pragma once

#include <string>

#include "tensor.hpp"

namespace roastery {

std::string encode_npy(const Tensor& tensor);

}  // namespace roastery
