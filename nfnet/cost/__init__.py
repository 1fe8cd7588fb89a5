"""Parameters, multiply-adds and memory of networks, counted from abstract shapes."""
