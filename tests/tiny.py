"""Settings that make a test's training short."""

TRACED_ONCE = "training.execution={jit_compile: false, steps_per_execution: 1}"  # tracing takes longer than training
