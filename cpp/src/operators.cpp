#include "operators.hpp"

#include <set>

namespace roastery {

bool may_run(const std::string& operator_type) {
    // Left out: HeatmapMaxKeypoint, which a detection of zero width crashes, and LengthsToSegmentIds, which writes
    // outside of its memory where a length is negative. Only a net for batches has it, and none of those is run.
    static const std::set<std::string> known = {"Add",
                                                "Alias",
                                                "AliasWithName",
                                                "AveragePool",
                                                "BBoxTransform",
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
                                                "EnsureCPUOutput",
                                                "EnsureDense",
                                                "Exp",
                                                "Expand",
                                                "ExpandDims",
                                                "FC",
                                                "Flatten",
                                                "Gather",
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
                                                "ReduceMean",
                                                "Relu",
                                                "ReplaceNaN",
                                                "Reshape",
                                                "ResizeNearest",
                                                "RoIAlign",
                                                "Shape",
                                                "Sigmoid",
                                                "Slice",
                                                "Softmax",
                                                "Split",
                                                "Squeeze",
                                                "StopGradient",
                                                "Sub",
                                                "Sum",
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
