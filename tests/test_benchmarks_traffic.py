"""Estimates of what a compiled program reads and writes, of a text as XLA prints it."""

import pytest

from benchmarks import traffic

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_add (p: bf16[8,4]) -> bf16[8,4] {
  %p = bf16[8,4]{1,0} parameter(0)
  ROOT %sum = bf16[8,4]{1,0} add(%p, %p)
}

%dynamic-slice-fusion (a: bf16[3,8,4], b: bf16[4,2]) -> (f32[8,2], s8[64]) {
  %a = bf16[3,8,4]{2,1,0} parameter(0)
  %part = bf16[1,8,4]{2,1,0} slice(%a), slice={[1:2], [0:8], [0:4]}
  %row = bf16[8,4]{1,0} bitcast(%part)
  %b = bf16[4,2]{1,0} parameter(1)
  ROOT %gemm = (f32[8,2]{1,0}, s8[64]{0}) custom-call(%row, %b), custom_call_target="__cublas$lt$matmul", backend_config={"dot":{"lhs_contracting_dimensions":["1"]}}
}

ENTRY %main (x: bf16[8,4], w: bf16[4,2], all: bf16[3,8,4]) -> bf16[8,4] {
  %x = bf16[8,4]{1,0} parameter(0)
  %w = bf16[4,2]{1,0} parameter(1)
  %all = bf16[3,8,4]{2,1,0} parameter(2)
  %twice = bf16[8,4]{1,0} fusion(%x, %x), kind=kLoop, calls=%fused_add, metadata={op_name="jit(step)/jvp(Classifier)/backbone/backbone._encoded/layer_7/ffn_in/add"}
  %product = (f32[8,2]{1,0}, s8[64]{0}) custom-call(%twice, %w), custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(step)/transpose(jvp(Classifier))/backbone/backbone._convolved/conv_3/convolution/dot_general"}, backend_config={"dot":{"lhs_contracting_dimensions":["1"]}}
  %dynamic_slice_fusion.1 = (f32[8,2]{1,0}, s8[64]{0}) fusion(%all, %w), kind=kCustom, calls=%dynamic-slice-fusion
  ROOT %same = bf16[8,4]{1,0} bitcast(%twice)
}
"""  # noqa: E501


def test_a_kernel_reads_each_operand_and_writes_its_result_once():
    twice, product, part = traffic.kernels(PROGRAM)
    assert twice[:3] == (8 * 4 * 2, 8 * 4 * 2, 0)
    # The library's own space is not written; 2 operations each of 8 x 2 x 4.
    assert product[:3] == (8 * 4 * 2 + 4 * 2 * 2, 8 * 2 * 4, 128)
    # One part in three of what it is given.
    assert part[:3] == product[:3]
    assert twice.seconds == pytest.approx(128 / 2.6e12 + 2e-6)


def test_kernels_are_counted_by_their_place_in_the_model():
    twice, product, part = traffic.kernels(PROGRAM)
    assert traffic.place_of(twice.source) == "layer/ffn_in"
    assert traffic.place_of(product.source) == "conv/convolution, backward"
    assert traffic.place_of(part.source) == "the rest"


def test_without_a_compiler_for_cuda_it_says_what_to_install(monkeypatch):
    def none(**_):
        raise NotImplementedError

    monkeypatch.setattr(traffic.topologies, "get_topology_desc", none)
    with pytest.raises(traffic.UserError, match=r"pip install \"jax\[cuda12\]\""):
        traffic.main([])
