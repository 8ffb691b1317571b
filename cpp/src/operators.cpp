#include "operators.hpp"

#include <set>

namespace roastery {

bool may_run(const std::string& operator_type) {
    // Left out: HeatmapMaxKeypoint, which a detection of zero width crashes, and LengthsToSegmentIds, which writes
    // outside of its memory where a length is negative. Only a net for batches has it, and none of those is run.
    static const std::set<std::string> known = {"Abs",
                                                "Add",
                                                "Alias",
                                                "AliasWithName",
                                                "AveragePool",
                                                "BBoxTransform",
                                                "BatchMatMul",
                                                "BatchPermutation",
                                                "BoxWithNMSLimit",
                                                "Cast",
                                                "Clip",
                                                "CollectRpnProposals",
                                                "Concat",
                                                "Conv",
                                                "ConvTranspose",
                                                "Copy",
                                                "DistributeFpnProposals",
                                                "Div",
                                                "Elu",
                                                "EnsureCPUOutput",
                                                "EnsureDense",
                                                "Erf",
                                                "Exp",
                                                "Expand",
                                                "ExpandDims",
                                                "FC",
                                                "Flatten",
                                                "Gather",
                                                "Gelu",
                                                "GenerateProposals",
                                                "GivenTensorBoolFill",
                                                "GivenTensorDoubleFill",
                                                "GivenTensorFill",
                                                "GivenTensorInt64Fill",
                                                "GivenTensorIntFill",
                                                "GroupNorm",
                                                "HardSigmoid",
                                                "LayerNorm",
                                                "LeakyRelu",
                                                "Log",
                                                "MaxPool",
                                                "Mish",
                                                "Mul",
                                                "Negative",
                                                "PRelu",
                                                "PadImage",
                                                "Pow",
                                                "Reciprocal",
                                                "ReduceMax",
                                                "ReduceMean",
                                                "ReduceMin",
                                                "ReduceSum",
                                                "Relu",
                                                "ReplaceNaN",
                                                "Reshape",
                                                "ResizeNearest",
                                                "RoIAlign",
                                                "Selu",
                                                "Shape",
                                                "Sigmoid",
                                                "Slice",
                                                "Softmax",
                                                "SpatialBN",
                                                "Split",
                                                "Sqrt",
                                                "Squeeze",
                                                "StopGradient",
                                                "Sub",
                                                "Sum",
                                                "Tanh",
                                                "Tile",
                                                "TopK",
                                                "Transpose",
                                                "UpsampleBilinear",
                                                "UpsampleNearest"};
    return known.count(operator_type) > 0;
}

bool may_have(const std::string& operator_type, const std::string& argument) {
    // With it Gather checks the indices of the first row alone, and reads wherever the others say.
    return operator_type != "Gather" || argument != "match_outer";
}

}  // namespace roastery
