"""What was trained: models, optimisers, data, training, evaluation and compute accounting."""
