#include "net.hpp"

#include <ATen/Parallel.h>
#include <caffe2/core/net.h>
#include <caffe2/core/tensor.h>
#include <caffe2/core/workspace.h>
#include <caffe2/utils/proto_utils.h>

#include <algorithm>

#include "failure.hpp"
#include "file.hpp"
#include "operators.hpp"

namespace roastery {
namespace {

// The first line of what Caffe2 says of an error; the others are where in its sources.
std::string reason(const std::exception& error) {
    const auto* own = dynamic_cast<const c10::Error*>(&error);
    const std::string text = own != nullptr ? own->what_without_backtrace() : error.what();
    return one_line(text.substr(0, text.find('\n')));
}

caffe2::NetDef read_net(const std::string& file) {
    const std::string content = read_file(file, "net");
    caffe2::NetDef net;
    // protobuf takes an empty file, and reads an ONNX model as fields that it does not know.
    if (!caffe2::ParseProtoFromLargeString(content, &net) || net.op_size() == 0) {
        throw Failure(file + ": is damaged or not a Caffe2 net; convert the model again");
    }
    return net;
}

void refuse_others(const caffe2::NetDef& net, const std::string& file) {
    for (int i = 0; i < net.op_size(); ++i) {
        const auto& type = net.op(i).type();
        if (!may_run(type)) {
            throw Failure(file + ": operator '" + one_line(type) +
                          "' is none of a detector's and is not run; convert the model with roastery");
        }
        for (int j = 0; j < net.op(i).arg_size(); ++j) {
            if (!may_have(type, net.op(i).arg(j).name())) {
                throw Failure(file + ": operator '" + type + "' with the argument '" + net.op(i).arg(j).name() +
                              "' is not run; convert the model with roastery");
            }
        }
    }
}

void fill(caffe2::Workspace& workspace, const std::string& name, const Tensor& tensor) {
    auto* target =
        caffe2::BlobGetMutableTensor(workspace.CreateBlob(name), tensor.shape, at::dtype<float>().device(caffe2::CPU));
    std::copy(tensor.values.begin(), tensor.values.end(), target->mutable_data<float>());
}

}  // namespace

struct Net::Caffe2 {
    caffe2::NetDef definition;
    caffe2::Workspace workspace;
    caffe2::NetBase* net = nullptr;

    template <typename Value>
    Value argument(const std::string& file, const std::string& name, const Value& otherwise) const {
        try {
            return caffe2::ArgumentHelper(definition).GetSingleArgument<Value>(name, otherwise);
        } catch (const std::exception& error) {
            throw Failure(file + ": net argument '" + name + "' is of another type (" + reason(error) +
                          "); convert the model again");
        }
    }

    template <typename Value>
    std::vector<Value> list(const std::string& file, const std::string& name,
                            const std::vector<Value>& otherwise) const {
        try {
            return caffe2::ArgumentHelper(definition).GetRepeatedArgument<Value>(name, otherwise);
        } catch (const std::exception& error) {
            throw Failure(file + ": net argument '" + name + "' holds no numbers (" + reason(error) +
                          "); convert the model again");
        }
    }
};

Net::Net(const std::string& predict_file, const std::string& init_file, int threads)
    : caffe2_(new Caffe2), file_(predict_file) {
    if (threads > 0) at::set_num_threads(threads);
    caffe2_->definition = read_net(predict_file);
    if (text("device", "cpu") != "cpu") {
        throw Failure(file_ + ": was converted for '" + one_line(text("device", "cpu")) +
                      "', and this program runs on the CPU; convert it with MODEL.DEVICE cpu");
    }
    const int batch = integer("batch_size", 1);
    if (batch != 1) {
        throw Failure(file_ + ": takes batches of " + std::to_string(batch) +
                      " images, and this program one at a time; convert the model with --batch 1");
    }
    refuse_others(caffe2_->definition, file_);
    auto init = read_net(init_file);
    refuse_others(init, init_file);
    try {
        if (!caffe2_->workspace.RunNetOnce(init)) throw Failure("it failed");
    } catch (const std::exception& error) {
        throw Failure(init_file + ": genuine Caffe2 cannot fill the parameters (" + reason(error) +
                      "); convert the model again");
    }
    // Without the last a net that takes it could not be made, and be asked for it.
    for (const auto* name : {"data", "im_info", "rois"}) caffe2_->workspace.CreateBlob(name);
    try {
        caffe2_->net = caffe2_->workspace.CreateNet(caffe2_->definition);
        if (caffe2_->net == nullptr) throw Failure("it gives no net");
    } catch (const std::exception& error) {
        throw Failure(file_ + ": genuine Caffe2 cannot make the net (" + reason(error) + "); give the " +
                      "--init_net of the same conversion");
    }
    const auto& inputs = caffe2_->net->external_input();
    if (std::find(inputs.begin(), inputs.end(), "rois") != inputs.end()) {
        throw Failure(file_ + ": takes precomputed proposals (rois), which are not read here; run it in Python");
    }
}

Net::~Net() = default;

bool Net::says(const std::string& name) const {
    const auto& definition = caffe2_->definition;
    for (int i = 0; i < definition.arg_size(); ++i) {
        if (definition.arg(i).name() == name) return true;
    }
    return false;
}
int Net::integer(const std::string& name, int otherwise) const {
    return caffe2_->argument<int>(file_, name, otherwise);
}
float Net::number(const std::string& name, float otherwise) const {
    return caffe2_->argument<float>(file_, name, otherwise);
}
std::string Net::text(const std::string& name, const std::string& otherwise) const {
    return caffe2_->argument<std::string>(file_, name, otherwise);
}
std::vector<int> Net::integers(const std::string& name, const std::vector<int>& otherwise) const {
    return caffe2_->list<int>(file_, name, otherwise);
}
std::vector<float> Net::numbers(const std::string& name, const std::vector<float>& otherwise) const {
    return caffe2_->list<float>(file_, name, otherwise);
}

bool Net::gives(const std::string& output) const {
    const auto& outputs = caffe2_->net->external_output();
    return std::find(outputs.begin(), outputs.end(), output) != outputs.end();
}

void Net::feed(const Input& input) {
    fill(caffe2_->workspace, "data", input.data);
    fill(caffe2_->workspace, "im_info", input.im_info);
}

void Net::run() {
    try {
        if (!caffe2_->net->Run()) throw Failure("it failed");
    } catch (const std::exception& error) {
        throw Failure(file_ + ": genuine Caffe2 failed (" + reason(error) + "); convert the model again");
    }
}

Outputs Net::fetch(const std::vector<std::string>& names) const {
    Outputs outputs;
    for (const auto& name : names) {
        const auto* blob = gives(name) ? caffe2_->workspace.GetBlob(name) : nullptr;
        if (blob == nullptr || !caffe2::BlobIsTensorType(*blob, caffe2::CPU)) {
            throw Failure(file_ + ": gave no output '" + name + "', which its detections are read from; convert the " +
                          "model with roastery");
        }
        const auto& source = blob->Get<caffe2::Tensor>();
        Tensor tensor{source.sizes().vec(), {}};
        if (source.numel() > 0) {
            if (!source.IsType<float>() || !source.storage_initialized()) {
                throw Failure(file_ + ": output '" + name + "' is not float32; convert the model with roastery");
            }
            tensor.values.assign(source.data<float>(), source.data<float>() + source.numel());
        }
        const auto finite = [](float value) { return std::isfinite(value); };
        if (!std::all_of(tensor.values.begin(), tensor.values.end(), finite)) {
            throw Failure(file_ + ": gave NaN or infinity in '" + name + "'; look at the model's weights");
        }
        outputs[name] = std::move(tensor);
    }
    return outputs;
}

}  // namespace roastery
