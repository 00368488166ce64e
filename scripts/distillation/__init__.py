"""Stage 2 of a distillation: a student learns a teacher's distributions and hidden states, not only its words."""
