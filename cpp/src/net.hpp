// Genuine Caffe2 behind an interface without its headers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "preprocess.hpp"
#include "tensor.hpp"

namespace roastery {

class Net {
  public:
    // Loads both nets and runs the init net. Throws Failure where a file is no net for one image on the CPU, or holds
    // what no detector has.
    Net(const std::string& predict_file, const std::string& init_file, int threads);
    ~Net();

    // Whether it has an argument of that name.
    bool says(const std::string& name) const;
    // The net's own arguments; `otherwise` where it has none of that name. Throws Failure where it is of another type.
    int integer(const std::string& name, int otherwise) const;
    float number(const std::string& name, float otherwise) const;
    std::string text(const std::string& name, const std::string& otherwise) const;
    std::vector<int> integers(const std::string& name, const std::vector<int>& otherwise) const;
    std::vector<float> numbers(const std::string& name, const std::vector<float>& otherwise) const;

    bool gives(const std::string& output) const;
    void feed(const Input& input);
    void run();
    // What the last run gave under these names.
    Outputs fetch(const std::vector<std::string>& names) const;

  private:
    struct Caffe2;
    std::unique_ptr<Caffe2> caffe2_;
    std::string file_;
};

}  // namespace roastery
