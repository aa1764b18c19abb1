"""A traced graph of PyTorch's operations (`torch.fx.GraphModule`), made faster on CPUs.

What depends on weights alone is worked out once, and a linear map or convolution and the activation
behind it become one oneDNN call, whose weights lie as that wants them: the operations that
`torch.compile` uses, without its compiler. Otherwise PyTorch lays kernels out anew at every call,
and gives some of them to MKL (ops/linear_map.py). Sums take the memory of what they add.
"""

from __future__ import annotations

from typing import Any

from keras_vitcnn.system import x86

FEWEST_ROWS, FEWEST_PRODUCTS = 32, 2 << 20  # of a linear map; below both, PyTorch's own is as fast
LOWEST = -3e38  # what is padded with that, or less, is never the largest


def traced(function: Any, images: Any) -> Any:
    """The operations of a function of images, without Keras between them, made faster."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.inference_mode():
        return optimized(make_fx(function)(images))


def optimized(graph: Any) -> Any:
    """The graph itself, changed in place: the same answers, within rounding."""
    _fold(graph)
    if available():
        _join(graph)
    _straighten(graph)
    _pad_in_pooling(graph)
    _in_place(graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def available() -> bool:
    """Whether this PyTorch has oneDNN's joined operations for this processor."""
    import torch

    return (
        x86()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def _fold(graph: Any) -> None:
    """What weights alone decide becomes a constant."""
    from torch.fx.node import map_arg

    known: dict[Any, Any] = {}  # node -> its value
    for node in graph.graph.nodes:
        needs = node.all_input_nodes
        if node.op == "get_attr":
            known[node] = getattr(graph, node.target)
        elif node.op == "call_function" and needs and known.keys() >= set(needs):
            args, kwargs = map_arg((node.args, node.kwargs), known.get)
            known[node] = node.target(*args, **kwargs)
        else:
            for need in [need for need in needs if need in known and need.op != "get_attr"]:
                with graph.graph.inserting_before(node):
                    node.replace_input_with(need, _constant(graph, need.name, known[need]))


def _constant(graph: Any, name: str, value: Any) -> Any:
    graph.register_buffer(f"_folded_{name}", value)
    return graph.graph.get_attr(f"_folded_{name}")


def _join(graph: Any) -> None:
    """Each product or convolution by weights, and its activation, as one call of oneDNN."""
    import torch

    aten = torch.ops.aten
    makers = {
        aten.mm.default: _product,
        aten.addmm.default: _product,
        aten.convolution.default: _convolution,
    }
    for node in list(graph.graph.nodes):
        make = makers.get(node.target)
        if make is None or node.meta["tensor_meta"].dtype != torch.float32:
            continue
        behind, activation = _activation_behind(node)
        with graph.graph.inserting_before(node):
            joined = make(graph, node, activation)
        if joined is None:
            continue
        joined.meta = node.meta
        node.replace_all_uses_with(joined)
        graph.graph.erase_node(node)
        if behind is not None:
            behind.replace_all_uses_with(behind.args[0])
            graph.graph.erase_node(behind)


def _activation_behind(node: Any) -> tuple[Any, tuple[str, list[float], str]]:
    """The activation that alone uses a result, perhaps as another view, and oneDNN's name of it."""
    import torch

    aten = torch.ops.aten
    names = {aten.relu.default: "relu", aten.silu.default: "swish", aten.sigmoid.default: "sigmoid"}
    while len(node.users) == 1:
        (node,) = node.users
        if node.target in names:
            return node, (names[node.target], [], "")
        if node.target is aten.gelu.default:
            return node, ("gelu", [], node.kwargs.get("approximate", "none"))
        if node.target is aten.hardtanh.default and len(node.args) == 3:
            return node, ("hardtanh", list(node.args[1:]), "")
        if node.target not in _views():
            break
    return None, ("none", [], "")


def _straighten(graph: Any) -> None:
    """Views of views as one, and none of the same shape: each costs Python a microsecond or two."""
    import torch

    aten = torch.ops.aten
    views = aten.view.default, aten._unsafe_view.default
    for node in graph.graph.nodes:
        if node.target is aten.permute.default and node.args[0].target is aten.permute.default:
            inner, first = node.args[0].args
            axes = [first[axis] for axis in node.args[1]]
            node.args = inner, axes
            if axes == sorted(axes):
                node.replace_all_uses_with(inner)
        elif node.target in views:
            if node.args[0].target in views:
                node.args = node.args[0].args[0], node.args[1]
            before, after = (one.meta.get("tensor_meta") for one in (node.args[0], node))
            if before is not None and after is not None and before.shape == after.shape:
                node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()


def _pad_in_pooling(graph: Any) -> None:
    """Maximum pooling that pads by itself, where a padded map is made for it alone."""
    import torch

    aten = torch.ops.aten
    for node in graph.graph.nodes:
        if node.target is not aten.max_pool2d_with_indices.default or len(node.args) != 3:
            continue
        moved, size, strides = node.args
        if moved.target is not aten.permute.default or moved.args[1] != [0, 3, 1, 2]:
            continue
        padded = moved.args[0]
        if padded.target is not aten.constant_pad_nd.default or padded.args[2] > LOWEST:
            continue
        before, after = ((padded.args[1] + [0] * 6)[side:6:2] for side in (0, 1))
        channels, width, height = before
        if len(padded.args[1]) > 6 or before != after or channels:
            continue
        if not (0 <= height <= size[0] // 2 and 0 <= width <= size[1] // 2):
            continue
        with graph.graph.inserting_before(node):
            image = graph.graph.call_function(aten.permute.default, (padded.args[0], [0, 3, 1, 2]))
        node.args = image, size, strides, [height, width]


def _views() -> tuple[Any, ...]:
    """Operations whose result is the memory of what they are given."""
    import torch

    aten = torch.ops.aten
    return aten.permute.default, aten.view.default, aten._unsafe_view.default


def _in_place(graph: Any) -> None:
    """Sums, products of numbers, and ReLUs in the memory of a result that nothing reads later.

    A ReLU of a sum is part of it.
    """
    import torch

    aten = torch.ops.aten
    here = {aten.add.Tensor: aten.add_.Tensor, aten.mul.Tensor: aten.mul_.Tensor}
    place = {node: number for number, node in enumerate(graph.graph.nodes)}
    for node in graph.graph.nodes:
        operands = node.all_input_nodes
        if node.target is aten.relu.default and _spare(operands[0], node, place):
            if operands[0].target is aten.add_.Tensor and hasattr(aten, "_add_relu_"):
                operands[0].target = aten._add_relu_.Tensor
                node.replace_all_uses_with(operands[0])
            else:
                node.target = aten.relu_.default
        if node.target in here and len(operands) == 2 and not node.kwargs:
            sure = [operand for operand in operands if _spare(operand, node, place)]
            if sure:
                node.target = here[node.target]
                node.args = (sure[0], *(other for other in operands if other is not sure[0]))


def _spare(operand: Any, node: Any, place: dict[Any, int]) -> bool:
    """Whether the operand's memory may hold the node's result: nothing reads it afterwards."""
    import torch

    known = operand.meta.get("tensor_meta")  # weights have none
    if known is None or known[:2] != node.meta["tensor_meta"][:2]:  # shape and type
        return False
    others = [other for other in node.all_input_nodes if other is not operand]
    while operand.target in (*_views(), *_operations("add_", "mul_", "relu_", "_add_relu_")):
        operand = operand.args[0]
    new = _operations("addmm", "mm", "convolution", "clone", "add", "mul")
    if available():
        joined = torch.ops.mkldnn
        new += [joined._linear_pointwise.default, joined._convolution_pointwise.default]
    if operand.target not in new:  # the images, a weight, or a part of something larger
        return False
    same = [operand]  # all that lies in this memory; grows while it is walked through
    for one in same:
        users = [user for user in one.users if user is not node]
        if any(place[user] > place[node] for user in users):
            return False
        same += [user for user in users if _same_memory(user)]
    return not any(other in same for other in others)


def _operations(*names: str) -> list[Any]:
    """Those that this PyTorch has, in the form that takes tensors."""
    import torch

    packets = [getattr(torch.ops.aten, name) for name in names if hasattr(torch.ops.aten, name)]
    return [
        packet.Tensor if "Tensor" in packet.overloads() else packet.default for packet in packets
    ]


def _same_memory(node: Any) -> bool:
    """Whether a result may lie where an operand does."""
    schema = getattr(node.target, "_schema", None)
    return schema is None or any(result.alias_info is not None for result in schema.returns)


def _product(graph: Any, node: Any, activation: tuple[str, list[float], str]) -> Any:
    """x @ kernel + bias as oneDNN's; `None` where PyTorch's own is as good."""
    *bias, x, kernel = node.args
    if kernel.op != "get_attr" or node.kwargs:
        return None
    weights = getattr(graph, kernel.target).T
    rows = node.meta["tensor_meta"].shape[0]
    if rows < FEWEST_ROWS and rows * weights.numel() < FEWEST_PRODUCTS:
        return None
    return _linear(graph, node, x, weights, bias[0] if bias else None, activation)


def _convolution(graph: Any, node: Any, activation: tuple[str, list[float], str]) -> Any:
    """A 2-D convolution as oneDNN's, that of single positions (ops/linear_map.py) as product."""
    import torch

    aten, call = torch.ops.aten, graph.graph.call_function
    x, kernel, bias, strides, padding, dilation, transposed, more, groups = node.args
    if kernel.op != "get_attr" or len(strides) != 2:
        return None
    weights = getattr(graph, kernel.target)
    if transposed:
        batch, units, height, width = node.meta["tensor_meta"].shape
        single = weights.shape[2:] == (1, 1) and strides == [1, 1] and not any(padding + more)
        if not single or groups != 1 or batch * height != 1:  # not one row, as ops/linear_map.py's
            return None
        rows = call(aten.permute.default, (x, [0, 2, 3, 1]))
        rows = call(aten.view.default, (rows, [width, len(weights)]))
        rows = _linear(graph, node, rows, weights[:, :, 0, 0].T, bias, activation)
        rows = call(aten.view.default, (rows, [1, 1, width, units]))
        return call(aten.permute.default, (rows, [0, 3, 1, 2]))
    depthwise = groups == len(weights) and dilation == [1, 1]
    x, weights, padding = _unpadded(graph, x, weights, padding, depthwise)
    size = list(x.meta["tensor_meta"].shape)
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        weights.contiguous(), padding, strides, dilation, groups, size
    )
    constant = _constant(graph, node.name, packed)
    return call(
        torch.ops.mkldnn._convolution_pointwise.default,
        (x, constant, bias, padding, strides, dilation, groups, *activation),
    )


def _unpadded(
    graph: Any, x: Any, weights: Any, padding: list[int], depthwise: bool
) -> tuple[Any, Any, list[int]]:
    """A convolution without the zeros that a view of a padded map has: with zeros of its own.

    Its own are as many on both sides. Where the map has more on one, a depthwise kernel takes the
    difference; a dense one would cost more than it saves.
    """
    import torch

    aten = torch.ops.aten
    if x.target is not aten.permute.default or x.args[1] != [0, 3, 1, 2]:
        return x, weights, padding
    padded = x.args[0]
    if padded.target is not aten.constant_pad_nd.default or any(padded.args[2:]):
        return x, weights, padding
    image, zeros = padded.args[:2]
    inside, (left, right, top, bottom) = zeros[:2], (*zeros[2:6], 0, 0, 0, 0)[:4]
    even = left == right and top == bottom
    if any(inside) or len(zeros) > 6 or min(zeros) < 0 or not (even or depthwise):
        return x, weights, padding
    more = (right - left, left - right, bottom - top, top - bottom)
    weights = torch.nn.functional.pad(weights, [max(0, difference) for difference in more])
    moved = graph.graph.call_function(aten.permute.default, (image, [0, 3, 1, 2]))
    shape = torch.Size(image.meta["tensor_meta"].shape[axis] for axis in (0, 3, 1, 2))
    moved.meta["tensor_meta"] = image.meta["tensor_meta"]._replace(shape=shape)
    own = zip(padding, (max(top, bottom), max(left, right)), strict=True)
    return moved, weights, [sum(both) for both in own]


def _linear(
    graph: Any, node: Any, x: Any, weights: Any, bias: Any, activation: tuple[str, list[float], str]
) -> Any:
    """x (..., c) by weights (units, c)."""
    import torch

    count = node.meta["tensor_meta"].shape.numel() // len(weights)
    packed = torch.ops.mkldnn._reorder_linear_weight(weights.contiguous(), count)
    return graph.graph.call_function(
        torch.ops.mkldnn._linear_pointwise.default,
        (x, _constant(graph, node.name, packed), bias, *activation),
    )
