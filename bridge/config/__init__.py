"""HCL text to checked, typed configuration, with file and line in every complaint."""
