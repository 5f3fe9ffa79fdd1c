"""Import torchvision even where its compiled operators do not load.

A torchvision built for another torch stops with "operator torchvision::nms does not exist"
(pytorch/vision#9077). The course needs only its pure-Python parts. On exactly that error the two operators it
looks up are declared by signature, and the import is tried again. On a healthy installation nothing happens.
"""

from __future__ import annotations

import sys

import torch

_keep_alive = []  # the declarations last as long as this library object


def import_torchvision():
    """The torchvision package. Raises whatever the import raises, other than the missing operator."""
    try:
        import torchvision
    except RuntimeError as err:
        if "torchvision::nms" not in str(err):
            raise
        for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _keep_alive.append(library)
        import torchvision
    return torchvision
