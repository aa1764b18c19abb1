"""A traced graph of PyTorch's operations (`torch.fx.GraphModule`), made faster on CPUs.

What depends on weights alone is worked out once, and a linear map or convolution and the activation
behind it become one oneDNN call, whose weights lie as that wants them: the operations that
`torch.compile` uses, without its compiler. Otherwise PyTorch lays kernels out anew at every call,
and gives some of them to MKL (ops/linear_map.py). Sums take the memory of what they add.
"""

from __future__ import annotations

from typing import Any

from keras_vitcnn.system import x86

FEWEST_ROWS = 32  # of a linear map; below, PyTorch's own is as fast


def optimized(graph: Any) -> Any:
    """The graph itself, changed in place: the same answers, within rounding."""
    _fold(graph)
    if available():
        _join(graph)
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


def _views() -> tuple[Any, ...]:
    """Operations whose result is the memory of what they are given."""
    import torch

    aten = torch.ops.aten
    return aten.permute.default, aten.view.default, aten._unsafe_view.default


def _in_place(graph: Any) -> None:
    """Sums, and ReLUs of them, in the memory of a result that nothing else reads."""
    import torch

    aten = torch.ops.aten
    new = [aten.addmm.default, aten.mm.default, aten.convolution.default]
    new += [aten.add.Tensor, aten.add_.Tensor]
    if available():
        joined = torch.ops.mkldnn
        new += [joined._linear_pointwise.default, joined._convolution_pointwise.default]

    def spare(operand: Any, like: Any) -> bool:
        known = operand.meta.get("tensor_meta")  # weights have none
        if known is None or known[:2] != like.meta["tensor_meta"][:2]:  # shape and type
            return False
        while operand.target in _views() and len(operand.users) == 1:
            operand = operand.args[0]
        return operand.target in new and len(operand.users) == 1

    for node in graph.graph.nodes:
        operands = node.all_input_nodes
        if node.target is aten.relu.default and spare(operands[0], node):
            node.target = aten.relu_.default
        if node.target is aten.add.Tensor and len(operands) == 2 and not node.kwargs:
            sure = [operand for operand in operands if spare(operand, node)]
            if sure:
                node.target = aten.add_.Tensor
                node.args = (sure[0], *(other for other in operands if other is not sure[0]))


def _product(graph: Any, node: Any, activation: tuple[str, list[float], str]) -> Any:
    """x @ kernel + bias as oneDNN's; `None` where PyTorch's own is as good."""
    *bias, x, kernel = node.args
    if kernel.op != "get_attr" or node.kwargs or node.meta["tensor_meta"].shape[0] < FEWEST_ROWS:
        return None
    weights = getattr(graph, kernel.target).T
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
