#include "operators.hpp"

#include <set>

namespace roastery {

bool may_run(const std::string& operator_type) {
    // HeatmapMaxKeypoint is left out: a detection of zero width crashes it.
    static const std::set<std::string> known = {"Add",
                                                "Alias",
                                                "AliasWithName",
                                                "AveragePool",
                                                "BBoxTransform",
                                                "BatchPermutation",
                                                "BoxWithNMSLimit",
                                                "Cast",
                                                "CollectRpnProposals",
                                                "Concat",
                                                "Conv",
                                                "ConvTranspose",
                                                "Copy",
                                                "DistributeFpnProposals",
                                                "Div",
                                                "EnsureCPUOutput",
                                                "EnsureDense",
                                                "ExpandDims",
                                                "FC",
                                                "Flatten",
                                                "GenerateProposals",
                                                "GivenTensorBoolFill",
                                                "GivenTensorDoubleFill",
                                                "GivenTensorFill",
                                                "GivenTensorInt64Fill",
                                                "GivenTensorIntFill",
                                                "GroupNorm",
                                                "MaxPool",
                                                "Mul",
                                                "PadImage",
                                                "Relu",
                                                "ReplaceNaN",
                                                "Reshape",
                                                "ResizeNearest",
                                                "RoIAlign",
                                                "Sigmoid",
                                                "Slice",
                                                "Softmax",
                                                "Split",
                                                "Squeeze",
                                                "StopGradient",
                                                "Sub",
                                                "Sum",
                                                "Transpose",
                                                "UpsampleBilinear",
                                                "UpsampleNearest"};
    return known.count(operator_type) > 0;
}

}  // namespace roastery
