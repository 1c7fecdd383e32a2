"""How Sphinx builds the pages of this folder; `nox -s docs` runs it, with every warning an error.

What the reference needs beyond Sphinx's own autodoc is in `_extensions/`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio_bunws

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "trio_bunws"
author = "The trio_bunws authors"
project_copyright = author
version = release = trio_bunws.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "public_names"]
exclude_patterns = ["_build"]
nitpicky = True
# What other projects define: their pages are not asked for, because a build needs no network.
nitpick_ignore_regex = [
    ("py:.*", r"(trio|ssl|os|attrs|typing|collections\.abc|contextlib|types|json)\..*"),
    ("py:.*", r"(str|bytes|bytearray|memoryview|int|float|bool|object|tuple|list|dict|set|frozenset|None|Exception)"),
    ("py:.*", r"(TypeError|ValueError|RuntimeError|OSError|EOFError|KeyError|AssertionError)"),
    ("py:class", r"(AbstractAsyncContextManager|Any|AsyncGenerator|AsyncIterable|AsyncIterator|Awaitable)"),
    ("py:class", r"(Buffer|Callable|ClassVar|Generator)"),
    ("py:class", r"(Final|IntEnum|Iterable|Iterator|Literal|Mapping|NamedTuple|Self|Unpack|TypedDict)"),
]

html_theme = "furo"
html_title = f"trio_bunws {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_type_aliases = {"Compressor": "Compressor", "SendStatus": "SendStatus"}
autodoc_class_signature = "mixed"
add_module_names = False
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
