"""Rewrites of a captured float graph into the few forms that preparation knows.

One rewrite per file; each has a ``match`` (pattern and guard) and a ``rewrite``. The graph is valid
before and after each; its outputs stay the same to the bit, except where a file says otherwise.
"""

from __future__ import annotations

import logging

from torch import fx

from deployq.graph.rewrites import (
    adaptive_to_pool,
    addmm_to_linear,
    attention_to_products,
    batch_norm_to_depthwise,
    bounds_to_clamp,
    ceil_to_pad,
    collapse_movements,
    constant_to_depthwise,
    conv1d_to_conv2d,
    conv_padding_to_numbers,
    expand_to_gather,
    fourier_to_layers,
    functionalize,
    last_axis_softmax,
    mask_of_numbers,
    mask_to_sum,
    matrix_transpose,
    max_to_pool,
    mean_to_pool,
    merge_constants,
    movement_behind_layer,
    nearest_to_resize,
    negative_into_constant,
    one_cast,
    one_spelling,
    ones_into_rms_norm,
    own_rows,
    pick_before_reshape,
    pool1d_to_pool2d,
    remove_cast,
    remove_expand,
    remove_identity,
    remove_true,
    repeat_to_gather,
    roll_to_gather,
    row_behind_map,
    scalar_into_layer,
    select_to_slice,
    shuffle_to_transpose,
    sign_into_constant,
    silu_to_mul,
    split_layer,
    split_to_slices,
    square_mean_to_rms_norm,
    square_to_mul,
    stack_to_concat,
    tanh_to_gelu,
    token_to_pad,
    unit_length_to_rms_norm,
    view_to_flatten,
    view_to_reshape,
    windows_of_constant,
    windows_to_concat,
    windows_to_layer,
)
from deployq.graph.rewrites.rule import Rewrite

_log = logging.getLogger(__name__)

NORMALIZATION: tuple[Rewrite, ...] = (
    functionalize.RULE,  # first: every later pattern is functional
    one_spelling.RULE,
    remove_cast.RULE,
    one_cast.RULE,
    own_rows.RULE,
    remove_true.RULE,  # before masks: it leaves what they are made of
    last_axis_softmax.RULE,
    addmm_to_linear.RULE,
    conv1d_to_conv2d.RULE,
    max_to_pool.RULE,
    pool1d_to_pool2d.RULE,  # after maxima over the last axis of rank 3
    windows_to_concat.RULE,
    windows_to_layer.RULE,
    fourier_to_layers.RULE,
    tanh_to_gelu.RULE,
    square_mean_to_rms_norm.RULE,
    unit_length_to_rms_norm.RULE,
    mask_to_sum.RULE,  # before products take the masks that are left
    attention_to_products.RULE,
    mask_of_numbers.RULE,
    stack_to_concat.RULE,
    sign_into_constant.RULE,
    negative_into_constant.RULE,
    split_to_slices.RULE,
    select_to_slice.RULE,
    roll_to_gather.RULE,
    matrix_transpose.RULE,
    remove_identity.RULE,
    windows_of_constant.RULE,
    remove_expand.RULE,
    expand_to_gather.RULE,
    repeat_to_gather.RULE,
    bounds_to_clamp.RULE,
    conv_padding_to_numbers.RULE,
    shuffle_to_transpose.RULE,
    nearest_to_resize.RULE,
    row_behind_map.RULE,  # behind identities, before a BatchNorm looks for its layer
    movement_behind_layer.RULE,
    pick_before_reshape.RULE,  # before chains are shortened: it looks for the factors of one axis
    collapse_movements.RULE,
    view_to_flatten.RULE,
    view_to_reshape.RULE,  # after flatten, which is the simpler form
    split_layer.RULE,  # after the picks: slices stand behind the layer
    scalar_into_layer.RULE,  # after it: queries have a layer of their own
    token_to_pad.RULE,
    merge_constants.RULE,  # after it: a token melts into the positions
    silu_to_mul.RULE,
    square_to_mul.RULE,  # after the patterns of norms and GELU, which begin with powers
    ones_into_rms_norm.RULE,
    mean_to_pool.RULE,
    adaptive_to_pool.RULE,
    ceil_to_pad.RULE,
    constant_to_depthwise.RULE,
    batch_norm_to_depthwise.RULE,  # last: identities between a layer and its BatchNorm are gone
)


def normalize(module: fx.GraphModule) -> None:
    """Apply :data:`NORMALIZATION` in place, in order, once each."""
    for rule in NORMALIZATION:
        for node in list(module.graph.nodes):
            if rule.match(module, node):
                _log.debug("%s: %s", rule.name, node.name)
                rule.rewrite(module, node)
        module.graph.eliminate_dead_code(is_impure_node=_is_input)
        module.graph.lint()
    module.recompile()


def _is_input(node: fx.Node) -> bool:
    return node.op in ("placeholder", "output")
