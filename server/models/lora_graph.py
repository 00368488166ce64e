"""What converters and engines agree on about LoRA adapters of ONNX graphs."""

GRAPH = "model_lora.onnx"  # beside model.onnx, over the same weight file: it takes LoRA matrices as inputs
PARTS = "lora:"  # before the name of a matrix in the graph's metadata; the value is `tensor=rows tensor=rows ...`
