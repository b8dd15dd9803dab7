"""`scripts/bench`: one module a group of rows; `__main__.GROUPS` lists them."""
