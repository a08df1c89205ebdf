"""The default network rebuilt for ONNX Runtime from the same weights, on one thread.

Beside `cargo run --release --example bench -- --pure --out figures.jsonl`:
    pip install numpy onnx onnxruntime && python3 tests/bench/onnxruntime_peer.py figures.jsonl

Checks that both give the same numbers for the same inputs before it prints any time.
"""

import json
import struct
import sys
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = "weights/forecaster-mixer.safetensors"
# As Head::START and Head::FIRST.
START = np.array([0.0, 1.381, 0.634, -0.309], dtype=np.float32)
FIRST = np.float32(0.05)


def weights():
    raw = open(WEIGHTS, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__")
    at = lambda part: np.frombuffer(raw[8 + size :][part[0] : part[1]], dtype=np.float32)
    return {name: at(entry["data_offsets"]).reshape(entry["shape"]) for name, entry in header.items()}


class Graph:
    def __init__(self, values):
        self.values, self.nodes, self.constants, self.count = values, [], {}, 0

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name):
        return self.constant(name, self.values["mixer." + name])

    def op(self, kind, *inputs, **attributes):
        self.count += 1
        out = f"v{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def linear(self, x, name):
        product = self.op("MatMul", x, self.weight(name + ".weight"))
        return self.op("Add", product, self.weight(name + ".bias"))

    def silu(self, x):
        return self.op("Mul", x, self.op("Sigmoid", x))

    def norm(self, x, name):
        scale, bias = self.weight(name + ".gain"), self.weight(name + ".bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)

    def transposed(self, x):
        return self.op("Transpose", x, perm=[0, 2, 1])

    def block(self, x, name):
        mixed = self.linear(self.silu(self.linear(self.transposed(x), name + ".time_in")), name + ".time_out")
        x = self.norm(self.op("Add", x, self.transposed(mixed)), name + ".time_norm")
        mixed = self.linear(self.silu(self.linear(x, name + ".features_in")), name + ".features_out")
        return self.norm(self.op("Add", x, mixed), name + ".features_norm")

    def grn(self, x, name, skip):
        hidden = self.silu(self.linear(x, name + ".first"))
        gated = self.linear(hidden, name + ".gate")
        half = self.values[f"mixer.{name}.gate.bias"].size // 2
        sizes = self.constant(name + ".halves", np.array([half, half], dtype=np.int64))
        self.count += 1
        left, right = f"l{self.count}", f"r{self.count}"
        self.nodes.append(helper.make_node("Split", [gated, sizes], [left, right], axis=-1))
        gated = self.op("Mul", self.op("Sigmoid", left), right)
        around = self.linear(x, name + ".skip") if skip else x
        return self.norm(self.op("Add", gated, around), name + ".norm")

    def network(self, windows, horizons):
        x = self.linear("past", "embedding")
        for block in ["block0", "block1"]:
            x = self.block(x, block)
        x = self.linear(self.transposed(x), "condense")
        width = 24 * 8
        flat = self.op("Reshape", x, self.constant("flat", np.array([windows, 1, width], dtype=np.int64)))
        wide = self.constant("wide", np.array([windows, horizons, width], dtype=np.int64))
        flat = self.op("Expand", flat, wide)
        statics = self.op("Unsqueeze", "statics", self.constant("axis", np.array([1], dtype=np.int64)))
        size = self.constant("static_size", np.array([windows, horizons, 12], dtype=np.int64))
        joined = self.op("Concat", flat, "future", self.op("Expand", statics, size), axis=2)
        thought = self.grn(self.grn(joined, "join", True), "think", False)
        raw = self.op("Mul", self.linear(thought, "head.quantiles"), self.constant("first", FIRST))
        raw = self.op("Add", raw, self.constant("start", START))
        quarter = self.constant("quarters", np.array([1, 1, 1, 1], dtype=np.int64))
        parts = ["p50", "a", "b", "c"]
        self.nodes.append(helper.make_node("Split", [raw, quarter], parts, axis=-1))
        a, b, c = (self.op("Softplus", part) for part in parts[1:])
        p80 = self.op("Add", "p50", b)
        p10 = self.op("Sub", "p50", a)
        self.nodes.append(
            helper.make_node("Concat", [p10, "p50", p80, self.op("Add", p80, c)], ["quantiles"], axis=-1)
        )


def session(values, windows):
    graph = Graph(values)
    graph.network(windows, 3)
    shaped = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [
        shaped("past", [windows, 152, 13]),
        shaped("future", [windows, 3, 24]),
        shaped("statics", [windows, 12]),
    ]
    outputs = [shaped("quantiles", [windows, 3, 4])]
    made = helper.make_graph(graph.nodes, "mixer", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def wave(*shape):
    """The inputs that the benchmark gives, too."""
    count = int(np.prod(shape))
    return (0.5 * np.sin(0.1 * np.arange(count, dtype=np.float64))).astype(np.float32).reshape(shape)


def main():
    ours = {}
    for line in open(sys.argv[1]):
        entry = json.loads(line)
        if "answers" in entry:
            ours[entry["windows"]] = np.array(entry["answers"], dtype=np.float32)
    values = weights()
    for windows in sorted(ours):
        run = session(values, windows)
        feed = {"past": wave(windows, 152, 13), "future": wave(windows, 3, 24), "statics": wave(windows, 12)}
        theirs = run.run(None, feed)[0]
        worst = float(np.abs(theirs.reshape(-1) - ours[windows].reshape(-1)).max())
        assert worst < 1e-3, f"the two networks differ by {worst}"
        times = []
        for _ in range(400):
            begun = time.perf_counter()
            run.run(None, feed)
            times.append((time.perf_counter() - begun) * 1e3)
        times.sort()
        print(f"ONNX Runtime {ort.__version__}, mixer, {windows} windows, one thread: p50 {times[200]:.3f} ms, p99 {times[396]:.3f} ms; largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
