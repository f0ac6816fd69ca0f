"""The functions of ``oracle`` in torch: same names, same arguments, same codes, on any device.

Codes are tensors; parameters stay ``QParams`` objects and are put on the codes' device, because
CUDA divides by a Python number through its reciprocal. Codes of 16 bits without sign are int32:
torch has few operations on uint16.
"""
