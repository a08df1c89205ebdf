"""The default forecaster and the policy rebuilt for ONNX Runtime from the same weights, on one thread.

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

FORECASTER = "weights/forecaster-mixer.safetensors"
POLICY = "weights/policy.safetensors"
# As Head::START and Head::FIRST.
START = np.array([0.0, 1.381, 0.634, -0.309], dtype=np.float32)
FIRST = np.float32(0.05)
# As in the Soldier's and the Commander's networks: prior of the steps, scales of what they say, width of a token, groups.
PRIOR = np.log(np.array([0.03, 0.11, 0.72, 0.11, 0.03], dtype=np.float32))
SPLIT, VELOCITY, REACH = np.float32(0.25), np.float32(0.05), np.float32(0.1)
WIDTH, GROUPS = 32, 6
# Deviations beyond which an input is not followed, the minutes of a shape, and one over its unit.
FAR, MINUTES, PER_UNIT = np.float32(4), 30, np.float32(4)


def weights(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__")
    at = lambda part: np.frombuffer(raw[8 + size :][part[0] : part[1]], dtype=np.float32)
    return {name: at(entry["data_offsets"]).reshape(entry["shape"]) for name, entry in header.items()}


class Graph:
    def __init__(self, values, prefix):
        self.prefix = prefix
        self.values, self.nodes, self.constants, self.count = values, [], {}, 0

    def constant(self, name, value):
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name):
        return self.constant(name, self.values[self.prefix + name])

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
        half = self.values[f"{self.prefix}{name}.gate.bias"].size // 2
        sizes = self.constant(name + ".halves", np.array([half, half], dtype=np.int64))
        self.count += 1
        left, right = f"l{self.count}", f"r{self.count}"
        self.nodes.append(helper.make_node("Split", [gated, sizes], [left, right], axis=-1))
        gated = self.op("Mul", self.op("Sigmoid", left), right)
        around = self.linear(x, name + ".skip") if skip else x
        return self.norm(self.op("Add", gated, around), name + ".norm")

    def plain(self, x, name):
        return self.op("MatMul", x, self.weight(name + ".weight"))

    def active(self, x, name):
        return self.silu(self.linear(x, name))

    def measured(self, x, name):
        centred = self.op("Sub", x, self.weight(name + ".mean"))
        units = self.op("Div", centred, self.weight(name + ".deviation"))
        return self.op("Clip", units, self.constant("near", -FAR), self.constant("far", FAR))

    def attention(self, queries, keys, mask):
        query, key = self.linear(queries, "attention.query"), self.plain(keys, "attention.key")
        scores = self.op("MatMul", query, self.transposed(key))
        scores = self.op("Mul", scores, self.constant("root", np.float32(1 / np.sqrt(WIDTH))))
        parts = self.op("Softmax", self.op("Add", scores, mask), axis=-1)
        return self.op("MatMul", parts, self.linear(keys, "attention.value"))

    def scaled(self, x, name, scale):
        return self.op("Mul", self.linear(x, name), self.constant(name + ".scale", scale))

    def named(self, x, name):
        self.nodes.append(helper.make_node("Identity", [x], [name]))

    def soldier(self):
        shapes = self.op("Mul", "shapes", self.constant("per_unit", PER_UNIT))
        shape = self.plain(self.linear(self.active(shapes, "shape.inner"), "shape.outer"), "embed_shape")
        apps = self.op("Add", self.linear(self.measured("apps", "app_statistics"), "embed_in"), shape)
        apps = self.active(self.silu(apps), "embed_out")
        query = self.active(self.measured("domains", "domain_statistics"), "query")
        seen = self.attention(query, apps, "mask")
        around = self.op("Add", self.plain(seen, "seen"), self.plain(query, "domain"))
        app = self.silu(self.op("Add", self.linear(apps, "own"), around))
        self.named(self.op("Add", self.linear(app, "steps"), self.constant("prior", PRIOR)), "steps")
        around = self.op("Add", self.plain(seen, "group_seen"), query)
        group = self.op("Add", self.linear(self.op("MatMul", "groups", apps), "group_own"), around)
        self.named(self.scaled(self.silu(group), "splits", SPLIT), "splits")
        self.named(self.scaled(around, "velocity", VELOCITY), "velocity")

    def commander(self):
        own = self.active(self.active(self.measured("domains", "statistics"), "embed_in"), "embed_out")
        joined = self.active(self.op("Add", own, self.attention(own, own, "mask")), "join")
        self.named(self.scaled(joined, "shares", REACH), "shares")
        self.named(self.scaled(joined, "headroom", REACH), "headroom")
        self.named(self.linear(joined, "urgency"), "urgency")

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


def session(graph, name, inputs, outputs):
    shaped = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    inputs = [shaped(name, list(value.shape)) for name, value in inputs.items()]
    outputs = [shaped(name, [None, None, None]) for name in outputs]
    made = helper.make_graph(graph.nodes, name, inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def wave(*shape):
    """The inputs that the benchmark gives, too."""
    count = int(np.prod(shape))
    return (0.5 * np.sin(0.1 * np.arange(count, dtype=np.float64))).astype(np.float32).reshape(shape)


def forecaster(values, windows):
    graph = Graph(values, "mixer.")
    graph.network(windows, 3)
    feed = {"past": wave(windows, 152, 13), "future": wave(windows, 3, 24), "statics": wave(windows, 12)}
    return [(session(graph, "mixer", feed, ["quantiles"]), feed)]


def policy(values, domains, apps):
    """The Commander and the Soldiers of one decision."""
    soldier, commander = Graph(values, "soldier."), Graph(values, "commander.")
    soldier.soldier()
    commander.commander()
    wide = lambda name: values[name].shape[0]
    group = np.arange(apps) % GROUPS
    counts = np.bincount(group, minlength=GROUPS)
    parts = (group == np.arange(GROUPS)[:, None]) / counts[:, None]
    below = {
        "apps": wave(domains, apps, wide("soldier.app_statistics.mean")),
        "shapes": wave(domains, apps, MINUTES),
        "domains": wave(domains, 1, wide("soldier.domain_statistics.mean")),
        "mask": np.zeros((domains, 1, apps), dtype=np.float32),
        "groups": np.tile(parts.astype(np.float32), (domains, 1, 1)),
    }
    own = wave(domains, wide("soldier.domain_statistics.mean"))
    more = wave(domains, wide("commander.statistics.mean") - own.shape[1])
    above = {
        "domains": np.concatenate([own, more], axis=1)[None],
        "mask": np.zeros((1, 1, domains), dtype=np.float32),
    }
    return [
        (session(commander, "commander", above, ["shares", "headroom", "urgency"]), above),
        (session(soldier, "soldier", below, ["steps", "splits", "velocity"]), below),
    ]


def compare(name, sessions, ours):
    """Prints times, once both give the same numbers."""
    ask = lambda: [out for run, feed in sessions for out in run.run(None, feed)]
    theirs = np.concatenate([out.reshape(-1) for out in ask()])
    worst = float(np.abs(theirs - ours.reshape(-1)).max())
    assert worst < 1e-3, f"the two networks differ by {worst}"
    times = []
    for _ in range(400):
        begun = time.perf_counter()
        ask()
        times.append((time.perf_counter() - begun) * 1e3)
    times.sort()
    print(f"ONNX Runtime {ort.__version__}, {name}, one thread: p50 {times[200]:.3f} ms, p99 {times[396]:.3f} ms; largest difference {worst:.1e}")


def main():
    for line in open(sys.argv[1]):
        entry = json.loads(line)
        if "answers" not in entry:
            continue
        ours = np.array(entry["answers"], dtype=np.float32)
        if "windows" in entry:
            windows = entry["windows"]
            compare(f"mixer, {windows} windows", forecaster(weights(FORECASTER), windows), ours)
        else:
            domains, apps = entry["domains"], entry["apps"]
            sessions = policy(weights(POLICY), domains, apps)
            compare(f"Commander and Soldiers, {domains} domains of {apps} apps", sessions, ours)


if __name__ == "__main__":
    main()
