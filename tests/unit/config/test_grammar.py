"""Show that the parser's cache changes nothing."""

import hcl2

from bridge.config.grammar import Budget, open_grammar, parse

TEXT = 'a "b" {\n  c = <<E\nx\nE\n  d = [1, e.f[0] + 2,\n    g("h${i}") ? -1.5 : null]\n}\n'


def test_a_cache_of_our_own_changes_nothing(tmp_path):
    """With a cache, written or read, the tree is python-hcl2's own, with the same positions."""
    file = tmp_path / "cache"
    wanted = hcl2.parses_to_tree(TEXT)
    trees = [open_grammar(file).parse(TEXT + "\n") for _ in range(2)]
    assert file.stat().st_size > 0
    for tree in (*trees, parse(TEXT, Budget())):
        assert tree == wanted
        assert [node.meta.line for node in tree.find_data("expr_term")] == [
            node.meta.line for node in wanted.find_data("expr_term")
        ]
