#include "npy.hpp"

namespace roastery {

std::string encode_npy(const Tensor& tensor) {
    std::string shape;
    for (const auto size : tensor.shape) shape += std::to_string(size) + ",";
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + "), }";
    // The whole of it ends at a multiple of 64 bytes, in a line break.
    header.append(63 - (10 + header.size()) % 64, ' ');
    header += '\n';
    std::string content("\x93NUMPY\x01\x00", 8);
    content += static_cast<char>(header.size() & 0xff);
    content += static_cast<char>(header.size() >> 8);
    content += header;
    return content.append(reinterpret_cast<const char*>(tensor.values.data()), tensor.values.size() * sizeof(float));
}

}  // namespace roastery
