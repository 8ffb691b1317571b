"""The full-size model of the benchmarks: a Mask R-CNN R50-FPN of 80 classes, as in detectron2's model zoo."""

CONFIG = (
    "MODEL:\n  DEVICE: cpu\n  META_ARCHITECTURE: GeneralizedRCNN\n  MASK_ON: true\n"
    "  BACKBONE: {NAME: build_resnet_fpn_backbone}\n"
    "  RESNETS: {DEPTH: 50, OUT_FEATURES: [res2, res3, res4, res5]}\n"
    "  FPN: {IN_FEATURES: [res2, res3, res4, res5]}\n"
    "  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]], ASPECT_RATIOS: [[0.5, 1.0, 2.0]]}\n"
    "  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6], PRE_NMS_TOPK_TEST: 1000, POST_NMS_TOPK_TEST: 1000}\n"
    "  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], NUM_CLASSES: 80}\n"
    "  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, POOLER_RESOLUTION: 7}\n"
    "  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 4, POOLER_RESOLUTION: 14}\n"
)
