# SPDX-License-Identifier: MPL-2.0
"""The examples of the README are Python, and what they import is there."""

import ast
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_examples_name_what_there_is():
    blocks = [block.split("```")[0] for block in README.read_text().split("```python\n")[1:]]
    assert len(blocks) == 5
    for block in blocks:
        tree = ast.parse(block)
        for statement in tree.body:
            # Functions are for a server or a transport of the reader; parameters are checked by the frameworks themselves.
            if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
                exec(compile(ast.Module([statement], []), str(README), "exec"), globals())
