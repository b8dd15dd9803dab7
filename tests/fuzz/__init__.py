"""Coverage-guided fuzzing; `oracles` checks what must hold, and needs no fuzzer."""
