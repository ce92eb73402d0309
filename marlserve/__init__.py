"""marlserve: reinforcement learning for the systems that serve language models.

`marlserve.traces`, `.envs`, `.policies`, `.experiments` and `.serving` are the top-level folders of
the same names in a source checkout.
"""

import os as _os

__version__ = "0.2.0"

# In a checkout the packages lie beside this folder; in a wheel they lie in it.
_here = _os.path.dirname(_os.path.abspath(__file__))
_root = _os.path.dirname(_here)
if not _os.path.isdir(_os.path.join(_here, "envs")) and _os.path.isfile(
    _os.path.join(_root, "setup.cfg")
):
    __path__.append(_root)

# Announces the problems to Gymnasium: `gymnasium.make("marlserve:marlserve/KvCache-v0")` imports
# this module to find them.
from marlserve import envs as _envs  # noqa: F401
