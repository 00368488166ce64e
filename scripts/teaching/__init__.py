"""Stage one of distillation: a teacher writes the answers that a student learns from."""
