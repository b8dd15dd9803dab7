"""Coverage-guided fuzzing; `oracles` says what must hold and needs no fuzzer."""
